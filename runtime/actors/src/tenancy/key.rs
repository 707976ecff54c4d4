//! What is kept of a key: its SHA-256.
//!
//! Keys are 256 random bits, so that a plain digest is as good as a slow one: nobody tries out
//! 2^256 of them, and a slow digest for every request would be a way to keep the server busy. A key
//! that a person thought of would not be safe like this.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// The digest of a key, as it stands in a configuration: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 32]);

/// Why a text is no digest of a key. It quotes nothing, since the text may be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyHashError {
    /// It looks like the key itself.
    #[error(
        "it must be the hash of a key, and looks like a key in clear; `antiphon key` makes a key \
         and its hash, and `printf %s KEY | sha256sum` hashes one that there is"
    )]
    InClear,
    /// Something else follows the prefix.
    #[error("after `sha256:` there must be 64 hexadecimal digits")]
    NotHex,
    /// A digest that was masked for display.
    #[error("it is masked, as `antiphon check` prints it; put the whole hash here")]
    Masked,
}

impl KeyHash {
    const PREFIX: &str = "sha256:";
    const SHOWN_DIGITS: usize = 8;
    const MASK: char = '…';

    /// The digest of a key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Enough of it to be recognised, and too little to be tried out.
    #[must_use]
    pub fn masked(&self) -> String {
        let whole = self.to_string();
        format!("{}{}", &whole[..Self::PREFIX.len() + Self::SHOWN_DIGITS], Self::MASK)
    }

    /// Whether both are the same, in a time that does not tell how alike they are.
    pub(super) fn is(&self, other: &Self) -> Choice {
        let pairs = self.lanes().into_iter().zip(other.lanes());
        // Of all lanes, whatever the first ones say; the last step is opaque to the compiler.
        let differs = pairs.fold(0, |differs, (one, other)| differs | (one ^ other));
        differs.ct_eq(&0)
    }

    /// The digest as four numbers, which are compared at once where bytes are one by one.
    fn lanes(&self) -> [u64; 4] {
        let (lanes, _) = self.0.as_chunks();
        [0, 1, 2, 3].map(|at| u64::from_le_bytes(lanes[at]))
    }
}

impl FromStr for KeyHash {
    type Err = KeyHashError;

    fn from_str(text: &str) -> Result<Self, KeyHashError> {
        let digits = text.strip_prefix(Self::PREFIX).ok_or(KeyHashError::InClear)?;
        if digits.ends_with(Self::MASK) {
            return Err(KeyHashError::Masked);
        }
        let nibble = |digit: u8| {
            let value = char::from(digit).to_digit(16).ok_or(KeyHashError::NotHex)?;
            Ok(u8::try_from(value).expect("a hexadecimal digit is below 16"))
        };
        let pairs = digits.as_bytes().chunks(2).map(|pair| match *pair {
            [high, low] => Ok(nibble(high)? << 4 | nibble(low)?),
            _ => Err(KeyHashError::NotHex),
        });
        let bytes: Vec<u8> = pairs.collect::<Result<_, _>>()?;
        bytes.try_into().map(Self).map_err(|_| KeyHashError::NotHex)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "abc", from FIPS 180-4's examples.
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_hash_reads_back_and_shows_little_of_itself() {
        let hash = KeyHash::of("abc");
        assert_eq!(hash.to_string(), ABC);
        assert_eq!(ABC.parse(), Ok(hash));
        assert_eq!(ABC.to_uppercase().replace("SHA256", "sha256").parse(), Ok(hash));
        assert_eq!(format!("{hash:?}"), "sha256:ba7816bf…");
        assert_eq!(hash.masked().parse::<KeyHash>(), Err(KeyHashError::Masked));
        assert!(bool::from(hash.is(&KeyHash::of("abc"))));
        assert!(!bool::from(hash.is(&KeyHash::of("abd"))));
        for byte in 0..32 {
            let mut other = hash;
            other.0[byte] ^= 1 << (byte % 8);
            assert!(!bool::from(hash.is(&other)), "byte {byte} counts");
        }
    }

    #[test]
    fn what_is_no_hash_is_refused_and_not_repeated() {
        for (text, expected) in [
            ("sk-antiphon-1234", KeyHashError::InClear),
            ("", KeyHashError::InClear),
            (&ABC[7..], KeyHashError::InClear),
            ("sha256:", KeyHashError::NotHex),
            (&ABC[..70], KeyHashError::NotHex),
            (&format!("{ABC}0"), KeyHashError::NotHex),
            (&format!("{ABC}00"), KeyHashError::NotHex),
            (
                "sha256:+a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                KeyHashError::NotHex,
            ),
        ] {
            let error = text.parse::<KeyHash>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("1234"));
        }
    }
}
