//! Sizes, durations and times in the forms that Go programs read and print.

mod duration;
mod size;
mod time;

pub use duration::{format_duration, human_duration, parse_duration};
pub use size::{
    binary_size, decimal_size, decimal_size_with_precision, image_size, parse_binary_size, parse_decimal_size,
};
pub use time::{Time, ago, parse_input_time, parse_rfc3339};

/// A text that is no size, duration or time, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a number with a unit.
    #[error("invalid size: '{0}'")]
    Size(String),
    /// A number with an unknown unit.
    #[error("invalid suffix: '{0}'")]
    Suffix(String),
    /// Not a number.
    #[error("strconv.ParseFloat: parsing {0:?}: invalid syntax")]
    Number(String),
    /// Not a duration.
    #[error("time: invalid duration {0:?}")]
    Duration(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A number with an unknown unit.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// Neither a time nor a duration.
    #[error("unable to interpret time value")]
    Time,
}
