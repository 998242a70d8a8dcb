//! What templates and the JSON printer work on.
//!
//! A value is made from anything that implements `Serialize`. Other than
//! `serde_json::Value` it keeps what Go's reflection would know: whether
//! something is a struct (an unknown field is an error) or a map (an unknown key
//! is `<no value>`), the name of the struct, and fields that were skipped because
//! they are empty. A newtype struct of the name `GoTime` that holds an RFC 3339
//! text is a time: JSON prints it as it is, templates as Go prints times. `GoDuration` holds nanoseconds, and
//! `GoPointer` something that JSON leaves out when it is `None`, and templates call `<nil>`.
//!
//! Clones share what is inside: a template that names seven fields of a row takes the row seven times.

use std::borrow::Cow;
use std::rc::Rc;

use serde::ser::{self, Serialize};

/// A value as a template sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// What a missing key of a map gives; printed as `<no value>`.
    Missing,
    /// A nil pointer or interface.
    Nil,
    /// A struct field that `skip_serializing_if` left out: the empty value of some type.
    Empty,
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer beyond the range of a signed one.
    Uint(u64),
    /// A floating point number.
    Float(f64),
    /// A string.
    Text(String),
    /// A point in time, as RFC 3339 text.
    Time(String),
    /// A Go duration in nanoseconds.
    Duration(i64),
    /// A nil pointer that JSON leaves out.
    Omitted,
    /// A slice or array.
    List(Rc<Vec<Value>>),
    /// A map, sorted by key as Go prints and ranges over it.
    Map(Rc<Vec<(String, Value)>>),
    /// A struct.
    Struct(Rc<Struct>),
}

/// A struct: its name and its fields in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Struct {
    /// The name of the Rust type, or nothing for one with flattened parts.
    pub name: &'static str,
    /// Field names as in JSON.
    pub fields: Vec<(Cow<'static, str>, Value)>,
}

impl Value {
    /// Converts anything serialisable.
    ///
    /// # Panics
    /// When the `Serialize` implementation itself fails, which derived ones do not.
    pub fn of(data: &(impl Serialize + ?Sized)) -> Self {
        data.serialize(Serializer { only: None }).expect("derived Serialize implementations do not fail")
    }

    /// The same for a struct of which a template names some fields only, in any case: the others are there, but empty.
    ///
    /// # Panics
    /// As [`Self::of`].
    pub fn of_named(data: &(impl Serialize + ?Sized), names: &[&str]) -> Self {
        let serializer = Serializer { only: Some(names) };
        data.serialize(serializer).expect("derived Serialize implementations do not fail")
    }

    /// A slice of values.
    #[must_use]
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(Rc::new(items.into_iter().collect()))
    }

    /// The type as Go would name it in an error.
    #[must_use]
    pub fn type_name(&self) -> &str {
        match self {
            Self::Missing | Self::Nil | Self::Empty | Self::Omitted => "interface {}",
            Self::Duration(_) => "time.Duration",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint64",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Time(_) => "time.Time",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Struct(data) if data.name.is_empty() => "struct",
            Self::Struct(data) => data.name,
        }
    }

    /// Go's `template.IsTrue`.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::Nil | Self::Empty | Self::Omitted => false,
            Self::Bool(b) => *b,
            Self::Int(i) | Self::Duration(i) => *i != 0,
            Self::Uint(u) => *u != 0,
            Self::Float(f) => *f != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Time(_) | Self::Struct(_) => true,
        }
    }

    /// The entry of a map, or a field.
    #[must_use]
    pub fn entry<'a, K: AsRef<str>>(map: &'a [(K, Self)], key: &str) -> Option<&'a Self> {
        map.iter().find(|(name, _)| name.as_ref() == key).map(|(_, value)| value)
    }
}

impl Struct {
    /// A field by the name in JSON, or by a Go name that differs in case only
    /// (`.ID` is `Id` in JSON, `.OCIVersion` is `OciVersion`).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        Value::entry(&self.fields, name).or_else(|| {
            self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        })
    }
}

/// Why a value cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SerializeError(String);

impl ser::Error for SerializeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type Result<T> = std::result::Result<T, SerializeError>;

/// Makes a value; with `only`, of a struct with these fields.
struct Serializer<'n> {
    only: Option<&'n [&'n str]>,
}

/// What is inside of something else is always whole.
const PART: Serializer<'static> = Serializer { only: None };

/// Collects a sequence.
struct Items {
    items: Vec<Value>,
    /// The variant of an enum, as serde's `{variant: items}`.
    variant: Option<&'static str>,
}

/// Collects a map or a struct.
struct Entries<'n> {
    entries: Vec<(Cow<'static, str>, Value)>,
    only: Option<&'n [&'n str]>,
    key: Option<String>,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Map,
    Struct(&'static str),
    Variant(&'static str),
}

impl Items {
    fn push(&mut self, value: &(impl Serialize + ?Sized)) -> Result<()> {
        self.items.push(value.serialize(PART)?);
        Ok(())
    }

    fn finish(self) -> Value {
        tagged(self.variant, Value::list(self.items))
    }
}

impl Entries<'_> {
    fn push(&mut self, key: Cow<'static, str>, value: &(impl Serialize + ?Sized)) -> Result<()> {
        let wanted = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(&key));
        let value = if self.only.is_none_or(wanted) { value.serialize(PART)? } else { Value::Empty };
        self.entries.push((key, value));
        Ok(())
    }

    fn finish(mut self) -> Value {
        let data = |name, fields| Value::Struct(Rc::new(Struct { name, fields }));
        match self.kind {
            Kind::Map => {
                self.entries.sort_by(|(left, _), (right, _)| left.cmp(right));
                let owned = self.entries.into_iter().map(|(key, value)| (key.into_owned(), value));
                Value::Map(Rc::new(owned.collect()))
            }
            Kind::Struct(name) => data(name, self.entries),
            Kind::Variant(name) => tagged(Some(name), data(name, self.entries)),
        }
    }
}

fn tagged(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        Some(name) => Value::Map(Rc::new(vec![(name.to_owned(), value)])),
        None => value,
    }
}

macro_rules! numbers {
    ($($method:ident $from:ty => $variant:ident $to:ty),+ $(,)?) => {$(
        fn $method(self, number: $from) -> Result<Value> {
            Ok(Value::$variant(<$to>::from(number)))
        }
    )+};
}

impl<'n> ser::Serializer for Serializer<'n> {
    type Ok = Value;
    type Error = SerializeError;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Entries<'n>;
    type SerializeStruct = Entries<'n>;
    type SerializeStructVariant = Entries<'n>;

    numbers! {
        serialize_bool bool => Bool bool,
        serialize_i8 i8 => Int i64,
        serialize_i16 i16 => Int i64,
        serialize_i32 i32 => Int i64,
        serialize_i64 i64 => Int i64,
        serialize_u8 u8 => Int i64,
        serialize_u16 u16 => Int i64,
        serialize_u32 u32 => Int i64,
        serialize_f32 f32 => Float f64,
        serialize_f64 f64 => Float f64,
    }

    fn serialize_u64(self, number: u64) -> Result<Value> {
        Ok(i64::try_from(number).map_or(Value::Uint(number), Value::Int))
    }

    fn serialize_char(self, c: char) -> Result<Value> {
        Ok(Value::Text(c.to_string()))
    }

    fn serialize_str(self, text: &str) -> Result<Value> {
        Ok(Value::Text(text.to_owned()))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Value> {
        Ok(Value::list(bytes.iter().map(|&byte| Value::Int(byte.into()))))
    }

    fn serialize_none(self) -> Result<Value> {
        Ok(Value::Nil)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value> {
        Ok(Value::Nil)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Value> {
        Ok(Value::Nil)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value> {
        Ok(Value::Text(variant.to_owned()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<Value> {
        match (name, value.serialize(self)?) {
            ("GoTime", Value::Text(text)) => Ok(Value::Time(text)),
            ("GoDuration", Value::Int(nanoseconds)) => Ok(Value::Duration(nanoseconds)),
            ("GoPointer", Value::Nil) => Ok(Value::Omitted),
            (_, value) => Ok(value),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value> {
        Ok(tagged(Some(variant), value.serialize(self)?))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Items> {
        Ok(Items { items: Vec::with_capacity(len.unwrap_or(0).min(4096)), variant: None })
    }

    fn serialize_tuple(self, len: usize) -> Result<Items> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Items> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Items> {
        Ok(Items { items: Vec::new(), variant: Some(variant) })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Entries<'n>> {
        // serde calls this without a length for a struct that has flattened parts.
        let kind = if len.is_some() { Kind::Map } else { Kind::Struct("") };
        Ok(Entries { entries: Vec::new(), only: self.only, key: None, kind })
    }

    fn serialize_struct(self, name: &'static str, fields: usize) -> Result<Entries<'n>> {
        Ok(Entries {
            entries: Vec::with_capacity(fields),
            only: self.only,
            key: None,
            kind: Kind::Struct(name),
        })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Entries<'n>> {
        Ok(Entries { entries: Vec::new(), only: self.only, key: None, kind: Kind::Variant(variant) })
    }
}

macro_rules! collects_items {
    ($($interface:ident $method:ident),+ $(,)?) => {$(
        impl ser::$interface for Items {
            type Ok = Value;
            type Error = SerializeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.push(value)
            }

            fn end(self) -> Result<Value> {
                Ok(self.finish())
            }
        }
    )+};
}

collects_items! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

macro_rules! collects_fields {
    ($($interface:ident),+ $(,)?) => {$(
        impl ser::$interface for Entries<'_> {
            type Ok = Value;
            type Error = SerializeError;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
                self.push(Cow::Borrowed(key), value)
            }

            fn skip_field(&mut self, key: &'static str) -> Result<()> {
                self.entries.push((Cow::Borrowed(key), Value::Empty));
                Ok(())
            }

            fn end(self) -> Result<Value> {
                Ok(self.finish())
            }
        }
    )+};
}

collects_fields! { SerializeStruct, SerializeStructVariant }

impl ser::SerializeMap for Entries<'_> {
    type Ok = Value;
    type Error = SerializeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.key = Some(super::print::text(&key.serialize(PART)?));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let key = self.key.take().unwrap_or_default();
        self.push(Cow::Owned(key), value)
    }

    fn end(self) -> Result<Value> {
        Ok(self.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(serde::Serialize)]
    struct GoTime(&'static str);

    #[derive(serde::Serialize)]
    struct Row {
        #[serde(rename = "Id")]
        id: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        pod: Option<&'static str>,
        labels: BTreeMap<u8, bool>,
        created: GoTime,
    }

    #[derive(serde::Serialize)]
    struct Wide<'a> {
        extra: i32,
        #[serde(flatten)]
        row: &'a Row,
    }

    #[test]
    fn keeps_what_reflection_knows() {
        let row = Row {
            id: "x",
            pod: None,
            labels: BTreeMap::from([(1, true)]),
            created: GoTime("2026-01-02T03:04:05Z"),
        };
        let Value::Struct(value) = Value::of(&row) else { panic!("not a struct") };
        assert_eq!(value.name, "Row");
        assert_eq!(value.field("ID"), Some(&Value::Text("x".to_owned())));
        assert_eq!(value.field("pod"), Some(&Value::Empty));
        assert_eq!(
            value.field("labels"),
            Some(&Value::Map(Rc::new(vec![("1".to_owned(), Value::Bool(true))])))
        );
        assert_eq!(value.field("created"), Some(&Value::Time("2026-01-02T03:04:05Z".to_owned())));
        assert_eq!(value.field("none"), None);
        let Value::Struct(value) = Value::of_named(&row, &["ID"]) else { panic!("not a struct") };
        assert_eq!(value.field("Id"), Some(&Value::Text("x".to_owned())));
        assert_eq!((value.field("created"), value.field("none")), (Some(&Value::Empty), None));
        assert!(
            matches!(Value::of(&Wide { extra: 1, row: &row }), Value::Struct(data) if data.name.is_empty())
        );
    }
}
