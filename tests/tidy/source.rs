//! Rust text, with what is code told apart from what is said in comments and strings.

use crate::COLUMNS_MAX;

/// A Rust file.
pub(crate) struct Source {
    /// From the workspace's root, with `/`.
    pub(crate) path: String,
    text: String,
    /// The text with comments and the contents of literals blanked, line by line the same.
    code: String,
    /// Whether each character of the text belongs to a string.
    in_string: Vec<bool>,
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Self {
        let (code, in_string) = blank(&text);
        Self { path: path.to_owned(), text, code, in_string }
    }

    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines())
    }

    /// Lines up to a module of tests at the end.
    pub(crate) fn lines_without_tests(&self) -> usize {
        let tests = self.text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        self.text[..tests].lines().count()
    }

    /// Lines that go on beyond the last column, other than within a string.
    pub(crate) fn long_lines(&self) -> Vec<(usize, usize)> {
        let mut long = Vec::new();
        let mut start = 0;
        for (number, line) in (1..).zip(self.text.split('\n')) {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && !self.in_string[start + COLUMNS_MAX - 1] {
                long.push((number, columns));
            }
            start += columns + 1;
        }
        long
    }
}

/// Blanks comments and the contents of strings, and says which characters belong to strings.
fn blank(text: &str) -> (String, Vec<bool>) {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut in_string = Vec::with_capacity(chars.len());
    let mut at = 0;
    while at < chars.len() {
        let (len, is_string) = literal_or_comment(&chars, at);
        if len == 0 {
            code.push(chars[at]);
            in_string.push(false);
            at += 1;
            continue;
        }
        for &char in &chars[at..at + len] {
            code.push(if char == '\n' { '\n' } else { ' ' });
            in_string.push(is_string);
        }
        at += len;
    }
    (code, in_string)
}

/// How many characters from `at` are one comment or string, and whether it is a string.
fn literal_or_comment(chars: &[char], at: usize) -> (usize, bool) {
    let rest = &chars[at..];
    let begins = |with: &str| with.chars().eq(rest.iter().copied().take(with.len()));
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if begins("//") {
        return (rest.iter().take_while(|&&char| char != '\n').count(), false);
    }
    if begins("/*") {
        return (block_comment_len(rest), false);
    }
    if begins("\"") {
        return (quoted_len(rest, '"'), true);
    }
    if (begins("br") || begins("r")) && !in_word {
        let prefix = if begins("br") { 2 } else { 1 };
        let hashes = rest[prefix..].iter().take_while(|&&char| char == '#').count();
        if rest.get(prefix + hashes) == Some(&'"') {
            return (raw_len(rest, prefix + hashes + 1, hashes), true);
        }
    }
    // A quotation mark as a character would begin a string; other characters and lifetimes may
    // stay.
    if begins("'\"'") {
        return (3, true);
    }
    if begins("'\\") {
        return (quoted_len(rest, '\''), true);
    }
    (0, false)
}

fn block_comment_len(chars: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => depth += 1,
            ('*', Some('/')) => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_len(chars: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn raw_len(chars: &[char], begin: usize, hashes: usize) -> usize {
    let ends = |at: usize| {
        chars[at] == '"'
            && chars[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    (begin..chars.len()).find(|&at| ends(at)).map_or(chars.len(), |at| at + 1 + hashes)
}

#[test]
fn the_lexer_tells_code_from_comments_and_strings() {
    let check = |source: &str, expected: &str| {
        assert_eq!(Source::new("x.rs", source.to_owned()).code, expected, "{source}");
    };
    check("a // unsafe\nb", "a          \nb");
    check("a /* /* x */ y */ b", "a                 b");
    check(r#"f("un\"safe", 'a', '"', b)"#, r#"f(          , 'a',    , b)"#);
    check("r#\"un\"safe\"# 'life u8", "             'life u8");
    check("b\"for\" + b'x' + '\\''", "b      + b'x' +     ");
}
