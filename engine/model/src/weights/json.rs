//! JSON that nobody vouches for: read once, bounded, and without two values under one key.
//!
//! `serde_json` bounds the depth. What it would accept beside that is refused here: a key that
//! occurs twice, of which the last would count silently, and more values than a file of its sort
//! ever has, each of which takes many times the memory of its text.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::error::Name;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Array(Vec<Self>),
    Bool(bool),
    Float(f64),
    Integer(i128),
    Null,
    Object(BTreeMap<String, Self>),
    String(Box<str>),
}

impl Json {
    /// Reads a text of at most `values_max` values.
    ///
    /// # Errors
    /// In words: what is wrong, and where.
    pub(super) fn parse(text: &[u8], values_max: usize) -> Result<Self, String> {
        let left = Cell::new(values_max);
        let mut json = serde_json::Deserializer::from_slice(text);
        let value = Reader { left: &left }.deserialize(&mut json);
        let value = value.map_err(|error| error.to_string())?;
        json.end().map_err(|error| error.to_string())?;
        Ok(value)
    }

    /// What it is, for messages.
    pub(super) const fn describe(&self) -> &'static str {
        match self {
            Self::Array(_) => "an array",
            Self::Bool(_) => "a boolean",
            Self::Float(_) => "a floating-point number",
            Self::Integer(value) if *value < 0 => "a negative integer",
            Self::Integer(_) => "an integer",
            Self::Null => "null",
            Self::Object(_) => "an object",
            Self::String(_) => "a string",
        }
    }
}

/// Reads the members of an object one by one, none of which is kept here. A member has at most
/// `values_max` values.
///
/// # Errors
/// What `each` says, or in words what is wrong with the text.
pub(super) fn read_members<E: From<String>>(
    text: &[u8],
    values_max: usize,
    each: impl FnMut(&str, Json) -> Result<(), E>,
) -> Result<(), E> {
    let refusal = RefCell::new(None);
    let mut json = serde_json::Deserializer::from_slice(text);
    let members = Members { values_max, each, refusal: &refusal };
    let read = json.deserialize_map(members).and_then(|()| json.end());
    match (refusal.into_inner(), read) {
        (Some(refusal), _) => Err(refusal),
        (None, Err(error)) => Err(error.to_string().into()),
        (None, Ok(())) => Ok(()),
    }
}

/// Counts values down to nothing.
#[derive(Clone, Copy)]
struct Reader<'a> {
    left: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(D::Error::custom("more values than a file of this sort ever has"));
        };
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            match members.entry(key) {
                Entry::Occupied(entry) => return Err(twice(entry.key())),
                Entry::Vacant(place) => {
                    place.insert(map.next_value_seed(self)?);
                }
            }
        }
        Ok(Json::Object(members))
    }
}

/// The members of the outermost object. Whether a key occurs twice is for `each` to say.
struct Members<'a, F, E> {
    values_max: usize,
    each: F,
    refusal: &'a RefCell<Option<E>>,
}

impl<'de, E, F: FnMut(&str, Json) -> Result<(), E>> Visitor<'de> for Members<'_, F, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let left = Cell::new(self.values_max);
            let value = map.next_value_seed(Reader { left: &left })?;
            if let Err(refusal) = (self.each)(&key, value) {
                *self.refusal.borrow_mut() = Some(refusal);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

fn twice<E: Error>(key: &str) -> E {
    E::custom(format_args!("{} occurs twice", Name::from(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Json, String> {
        Json::parse(text.as_bytes(), 10)
    }

    #[test]
    fn every_sort_of_value_is_read() {
        let read = parse(r#"{"a": [null, true, -1, 1.5, 1e40], "b": "ü"}"#).unwrap();
        let values = vec![
            Json::Null,
            Json::Bool(true),
            Json::Integer(-1),
            Json::Float(1.5),
            Json::Float(1e40),
        ];
        let members = [("a", Json::Array(values)), ("b", Json::String("ü".into()))];
        assert_eq!(read, Json::Object(members.map(|(k, v)| (k.to_owned(), v)).into()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let refusal = |text: &str| parse(text).unwrap_err();
        assert_eq!(refusal(r#"{"a": 1, "a": 2}"#), "`a` occurs twice at line 1 column 12");
        assert_eq!(refusal(r#"{"x": {"a": 1, "a": 2}}"#), "`a` occurs twice at line 1 column 18");
        let deep = Json::parse("[".repeat(1000).as_bytes(), 1000).unwrap_err();
        assert!(deep.starts_with("recursion limit exceeded"), "{deep}");
        assert!(refusal("[1,2,3,4,5,6,7,8,9,10]").starts_with("more values than"));
        assert!(refusal("[1] 2").starts_with("trailing characters"));
        assert!(refusal("[1").starts_with("EOF while parsing"));
        assert!(refusal("\"\u{1}\"").starts_with("control character"));
    }

    #[test]
    fn members_are_read_one_by_one_and_may_be_refused() {
        let mut seen = Vec::new();
        let mut read = |text: &str| {
            read_members(text.as_bytes(), 2, |key, value| {
                seen.push((key.to_owned(), value));
                if key == "no" { Err("refused by its reader".to_owned()) } else { Ok(()) }
            })
        };
        assert_eq!(read(r#"{"a": 1, "b": [2]}"#), Ok(()));
        assert_eq!(read(r#"{"no": 1, "c": 2}"#), Err("refused by its reader".to_owned()));
        assert!(read(r#"{"d": [1, 2]}"#).unwrap_err().starts_with("more values than"));
        assert!(read("[]").unwrap_err().starts_with("invalid type: sequence, expected an object"));
        let keys: Vec<_> = seen.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "no"]);
    }
}
