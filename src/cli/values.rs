//! Value parsers that several commands share.

/// A boolean as Go reads it.
///
/// # Errors
/// Fails on anything but `1 t T true TRUE True 0 f F false FALSE False`.
pub fn go_bool(text: &str) -> Result<bool, String> {
    super::flags::parse_bool(text.as_bytes())
        .ok_or_else(|| format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))
}
