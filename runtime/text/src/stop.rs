//! Stop strings, found across the borders of the pieces that text arrives in.

/// Watches one output for stop strings.
///
/// The stop string that is complete first wins; of several that end at the same character, the
/// longest; of equal ones, the first given. So what is found does not depend on how the text was
/// cut. Text is held back only while it may still become a stop string.
///
/// Each byte costs an amortised constant per stop string (Knuth, Morris, Pratt: "Fast pattern
/// matching in strings", 1977), however long the output or the strings are.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    needles: Vec<Needle>,
    held: String,
    found: Option<usize>,
    shows_found: bool,
}

impl StopMatcher {
    /// Watches for `stops`. An empty string never matches.
    pub fn new(stops: Vec<String>) -> Self {
        let needles = stops.into_iter().map(Needle::new).collect();
        Self { needles, held: String::new(), found: None, shows_found: false }
    }

    /// The same, but the stop string that is found is part of what goes out.
    #[must_use]
    pub fn showing_found(self) -> Self {
        Self { shows_found: true, ..self }
    }

    /// Takes more text, and appends to `out` what is surely not part of a stop string.
    ///
    /// `Some(which)` once stop string number `which` is complete: the text before it, or up to its
    /// end, has been appended, and nothing is from then on.
    pub fn push(&mut self, text: &str, out: &mut String) -> Option<usize> {
        if self.found.is_some() {
            return self.found;
        }
        let before = self.held.len();
        self.held.push_str(text);
        for (index, byte) in text.bytes().enumerate() {
            if let Some(which) = self.step(byte) {
                let end = before + index + 1;
                let hidden = if self.shows_found { 0 } else { self.needles[which].len() };
                out.push_str(&self.held[..end - hidden]);
                self.held = String::new();
                self.found = Some(which);
                return self.found;
            }
        }
        let undecided = self.needles.iter().map(|needle| needle.matched).max().unwrap_or(0);
        let decided = self.held.len() - undecided;
        out.push_str(&self.held[..decided]);
        self.held.drain(..decided);
        None
    }

    /// Ends the output: what was held back is not part of a stop string after all.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
        for needle in &mut self.needles {
            needle.matched = 0;
        }
    }

    /// Advances all needles; the longest that `byte` completes.
    fn step(&mut self, byte: u8) -> Option<usize> {
        let mut longest: Option<(usize, usize)> = None;
        for (which, needle) in self.needles.iter_mut().enumerate() {
            let complete = needle.step(byte);
            if complete && longest.is_none_or(|(_, len)| needle.len() > len) {
                longest = Some((which, needle.len()));
            }
        }
        longest.map(|(which, _)| which)
    }
}

/// One stop string, and how much of it the text ends with.
#[derive(Clone, Debug)]
struct Needle {
    bytes: Box<[u8]>,
    /// For each prefix length, the longest proper prefix that is also its suffix.
    borders: Box<[usize]>,
    matched: usize,
}

impl Needle {
    fn new(text: String) -> Self {
        let bytes = text.into_bytes().into_boxed_slice();
        let mut borders = vec![0; bytes.len() + 1];
        let mut border = 0;
        for index in 1..bytes.len() {
            while border > 0 && bytes[border] != bytes[index] {
                border = borders[border];
            }
            border += usize::from(bytes[border] == bytes[index]);
            borders[index + 1] = border;
        }
        Self { bytes, borders: borders.into_boxed_slice(), matched: 0 }
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether `byte` completes the needle.
    fn step(&mut self, byte: u8) -> bool {
        if self.bytes.is_empty() {
            return false;
        }
        while self.matched > 0 && self.bytes[self.matched] != byte {
            self.matched = self.borders[self.matched];
        }
        self.matched += usize::from(self.bytes[self.matched] == byte);
        self.matched == self.bytes.len()
    }
}

#[cfg(test)]
mod tests;
