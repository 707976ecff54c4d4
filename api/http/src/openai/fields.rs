//! Reads an object field by field, and knows the path of each for an error to name.
//!
//! Nothing is coerced: a number in quotes is a string. An explicit null is as absent. What is never
//! asked for is unknown; it is accepted, and listed for the client.

use serde_json::{Map, Value};

use super::json::kind;
use super::{ApiError, Ignored};

/// The fields of an object that are not read yet.
pub(crate) struct Fields {
    path: String,
    left: Map<String, Value>,
}

/// One field that is there and not null.
pub(crate) struct Field {
    path: String,
    value: Value,
}

impl Fields {
    /// The fields of the body itself.
    pub(crate) const fn new(object: Map<String, Value>) -> Self {
        Self { path: String::new(), left: object }
    }

    /// Takes out a field that may be absent.
    pub(crate) fn optional(&mut self, name: &str) -> Option<Field> {
        match self.left.remove(name) {
            None | Some(Value::Null) => None,
            Some(value) => Some(Field { path: self.path_of(name), value }),
        }
    }

    /// Takes out a field that must be there.
    ///
    /// # Errors
    /// The field is absent or null.
    pub(crate) fn required(&mut self, name: &str) -> Result<Field, ApiError> {
        self.optional(name).ok_or_else(|| ApiError::missing(&self.path_of(name)))
    }

    /// All that are left, with their names.
    pub(crate) fn into_named(self) -> impl Iterator<Item = (String, Field)> {
        let path = if self.path.is_empty() { String::new() } else { format!("{}.", self.path) };
        let there = self.left.into_iter().filter(|(_, value)| !value.is_null());
        there.map(move |(name, value)| {
            (name.clone(), Field { path: format!("{path}{name}"), value })
        })
    }

    /// Counts what is left as unknown.
    pub(crate) fn ignore_rest(self, ignored: &mut Ignored) {
        for (name, value) in &self.left {
            if !value.is_null() {
                ignored.add(&self.path_of(name));
            }
        }
    }

    /// The path of a field of this object.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

impl Field {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) const fn value(&self) -> &Value {
        &self.value
    }

    /// The error of a field that is of another type than `expected`.
    pub(crate) fn not(&self, expected: &str) -> ApiError {
        ApiError::invalid_type(&self.path, expected, kind(&self.value))
    }

    /// The error of a field of the right type and a wrong value.
    pub(crate) fn outside(&self, expected: &str) -> ApiError {
        ApiError::invalid_value(&self.path, expected)
    }

    /// # Errors
    /// Not a boolean.
    pub(crate) fn flag(&self) -> Result<bool, ApiError> {
        self.value.as_bool().ok_or_else(|| self.not("a boolean"))
    }

    /// # Errors
    /// Not a string.
    pub(crate) fn text(self) -> Result<String, ApiError> {
        match self.value {
            Value::String(text) => Ok(text),
            Value::Array(_)
            | Value::Bool(_)
            | Value::Null
            | Value::Number(_)
            | Value::Object(_) => Err(self.not("a string")),
        }
    }

    /// # Errors
    /// Not a number, or outside `min..=max`.
    pub(crate) fn number(&self, min: f64, max: f64) -> Result<f64, ApiError> {
        let number = self.value.as_f64().ok_or_else(|| self.not("a number"))?;
        if (min..=max).contains(&number) {
            return Ok(number);
        }
        Err(self.outside(&format!("{min} to {max}")))
    }

    /// # Errors
    /// Not an integer, or outside `min..=max`.
    pub(crate) fn integer(&self, min: i64, max: i64) -> Result<i64, ApiError> {
        let Value::Number(number) = &self.value else { return Err(self.not("an integer")) };
        match number.as_i64() {
            Some(integer) if (min..=max).contains(&integer) => Ok(integer),
            None if is_fraction(number) => {
                Err(ApiError::invalid_type(&self.path, "an integer", "a fraction"))
            }
            Some(_) | None => Err(self.outside(&format!("{min} to {max}"))),
        }
    }

    /// An integer that counts something.
    ///
    /// # Errors
    /// Not an integer, or outside `min..=u32::MAX`.
    pub(crate) fn count(&self, min: u32) -> Result<u32, ApiError> {
        let integer = self.integer(i64::from(min), i64::from(u32::MAX))?;
        Ok(u32::try_from(integer).expect("within the range asked for"))
    }

    /// A whole number of up to 64 bits, with or without a sign, as bits.
    ///
    /// # Errors
    /// Not an integer, or of more bits.
    pub(crate) fn bits(&self) -> Result<u64, ApiError> {
        match self.value.as_u64() {
            Some(bits) => Ok(bits),
            None => self.integer(i64::MIN, i64::MAX).map(i64::cast_unsigned),
        }
    }

    /// # Errors
    /// Not an object.
    pub(crate) fn object(self) -> Result<Fields, ApiError> {
        match self.value {
            Value::Object(left) => Ok(Fields { path: self.path, left }),
            Value::Array(_)
            | Value::Bool(_)
            | Value::Null
            | Value::Number(_)
            | Value::String(_) => Err(self.not("an object")),
        }
    }

    /// A list's elements, each with its path. A null in a list is an element of a wrong type.
    ///
    /// # Errors
    /// Not a list, or longer than `max`.
    pub(crate) fn list(self, max: usize) -> Result<Vec<Self>, ApiError> {
        let Value::Array(values) = self.value else { return Err(self.not("a list")) };
        if values.len() > max {
            let expected = format!("a list of at most {max}, not {}", values.len());
            return Err(ApiError::invalid_value(&self.path, expected));
        }
        let element = |(index, value)| Self { path: format!("{}[{index}]", self.path), value };
        Ok(values.into_iter().enumerate().map(element).collect())
    }

    /// A list of token ids. Long ones are common, so no path is made before it is needed.
    ///
    /// # Errors
    /// Not a list, or an element that is no token id.
    pub(crate) fn tokens(self) -> Result<Vec<u32>, ApiError> {
        let Value::Array(values) = self.value else { return Err(self.not("a list of tokens")) };
        let token = |(index, value): (usize, Value)| match value.as_u64().map(u32::try_from) {
            Some(Ok(token)) => Ok(token),
            Some(Err(_)) | None => {
                let path = format!("{}[{index}]", self.path);
                Self { path, value }.count(0)
            }
        };
        values.into_iter().enumerate().map(token).collect()
    }
}

/// JSON's integers beyond 64 bits arrive as doubles; those have no fraction.
fn is_fraction(number: &serde_json::Number) -> bool {
    number.is_f64() && number.as_f64().is_some_and(|value| value.abs() < 2f64.powi(63))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(value: Value) -> Field {
        Field { path: "f".to_owned(), value }
    }

    fn error<T>(result: Result<T, ApiError>) -> String {
        result.err().expect("refused").to_string()
    }

    #[test]
    fn nothing_is_coerced() {
        assert_eq!(error(field(json!("1")).integer(0, 9)), "`f` must be an integer, not a string");
        assert_eq!(error(field(json!("1")).number(0., 9.)), "`f` must be a number, not a string");
        assert_eq!(
            error(field(json!(1.0)).integer(0, 9)),
            "`f` must be an integer, not a fraction"
        );
        assert_eq!(error(field(json!(0)).flag()), "`f` must be a boolean, not a number");
        assert_eq!(error(field(json!(true)).text()), "`f` must be a string, not a boolean");
        assert_eq!(error(field(json!({})).list(9)), "`f` must be a list, not an object");
        assert_eq!(error(field(json!([])).object()), "`f` must be an object, not a list");
    }

    #[test]
    fn ranges_are_closed_and_numbers_of_any_size_are_told() {
        assert_eq!(field(json!(9)).integer(0, 9).unwrap(), 9);
        assert_eq!(error(field(json!(10)).integer(0, 9)), "`f` must be 0 to 9");
        assert_eq!(error(field(json!(1e30)).integer(0, 9)), "`f` must be 0 to 9");
        assert_eq!(error(field(json!(u64::MAX)).integer(0, 9)), "`f` must be 0 to 9");
        assert_eq!(error(field(json!(-1)).count(1)), "`f` must be 1 to 4294967295");
        assert_eq!(field(json!(u64::MAX)).bits().unwrap(), u64::MAX);
        assert_eq!(field(json!(-1)).bits().unwrap(), u64::MAX);
    }

    #[test]
    fn paths_lead_to_the_element() {
        let tokens = field(json!([1, 2, "3"])).tokens();
        assert_eq!(error(tokens), "`f[2]` must be an integer, not a string");
        let list = field(json!([{"a": null}])).list(1).unwrap();
        let mut object = list.into_iter().next().unwrap().object().unwrap();
        assert_eq!(error(object.required("a").map(|_| ())), "`f[0].a` is required");
        assert_eq!(error(field(json!([1, 2])).list(1)), "`f` must be a list of at most 1, not 2");
    }
}
