use proptest::prelude::*;

use super::StopMatcher;

/// What the stop rule says of the whole text at once: the text that goes out, and which string
/// ended it.
fn naive(stops: &[String], text: &str) -> (String, Option<usize>) {
    for end in (0..=text.len()).filter(|&end| text.is_char_boundary(end)) {
        let complete = |which: &usize| {
            !stops[*which].is_empty() && text[..end].ends_with(stops[*which].as_str())
        };
        let longest = (0..stops.len())
            .filter(complete)
            .max_by_key(|&which| (stops[which].len(), std::cmp::Reverse(which)));
        if let Some(which) = longest {
            return (text[..end - stops[which].len()].to_owned(), Some(which));
        }
    }
    (text.to_owned(), None)
}

/// What a matcher says of the same text, piece by piece; and the most that it held back.
fn piecewise(stops: &[String], pieces: &[String]) -> (String, Option<usize>, usize) {
    let mut matcher = StopMatcher::new(stops.to_vec());
    let (mut out, mut taken, mut held_max) = (String::new(), 0, 0);
    for piece in pieces {
        let found = matcher.push(piece, &mut out);
        taken += piece.len();
        if found.is_some() {
            matcher.push("nothing after it", &mut out);
            matcher.finish(&mut out);
            return (out, found, held_max);
        }
        held_max = held_max.max(taken - out.len());
    }
    matcher.finish(&mut out);
    (out, None, held_max)
}

#[test]
fn a_stop_string_is_shown_where_that_is_asked_for() {
    for pieces in [&["ab|", "|cd|"][..], &["ab||cd"], &["a", "b", "|", "|", "c"]] {
        let mut matcher = StopMatcher::new(vec!["||".to_owned()]).showing_found();
        let mut out = String::new();
        let found: Vec<_> = pieces.iter().map(|piece| matcher.push(piece, &mut out)).collect();
        matcher.finish(&mut out);
        assert_eq!((out.as_str(), found.last()), ("ab||", Some(&Some(0))));
    }
}

#[test]
fn a_stop_string_is_found_across_pieces_and_left_out() {
    let mut matcher = StopMatcher::new(vec!["\n\nUser:".to_owned()]);
    let mut out = String::new();
    for piece in ["Paris.", "\n", "\nUs", "ually", "\n\nUse"] {
        assert_eq!(matcher.push(piece, &mut out), None);
    }
    assert_eq!(out, "Paris.\n\nUsually");
    assert_eq!(matcher.push("r: next", &mut out), Some(0));
    assert_eq!(matcher.push(" more", &mut out), Some(0));
    matcher.finish(&mut out);
    assert_eq!(out, "Paris.\n\nUsually");
}

#[test]
fn without_stop_strings_nothing_is_held_back() {
    let mut matcher = StopMatcher::new(vec![String::new()]);
    let mut out = String::new();
    assert_eq!(matcher.push("a", &mut out), None);
    assert_eq!(out, "a");
}

#[test]
fn the_first_complete_wins_then_the_longest_then_the_first_given() {
    let stops = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
    let run = |list: &[&str], text: &str| {
        let (out, found, _) = piecewise(&stops(list), &[text.to_owned()]);
        (out, found)
    };
    assert_eq!(run(&["abcd", "bc"], "xabcd"), ("xa".to_owned(), Some(1)));
    assert_eq!(run(&["d", "bcd", "cd"], "abcd"), ("a".to_owned(), Some(1)));
    assert_eq!(run(&["b", "b"], "ab"), ("a".to_owned(), Some(0)));
}

#[test]
fn what_was_held_back_comes_out_at_the_end() {
    let (out, found, held) = piecewise(&["é!é?".to_owned()], &["é!".to_owned(), "é".to_owned()]);
    assert_eq!((out.as_str(), found, held), ("é!é", None, 5));
}

/// Text over few characters, so that stop strings overlap themselves and each other.
fn text(len: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!['a', 'b', 'é', '語', '🙂']), len)
        .prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_chunking_agrees_with_the_search_of_the_whole(
        stops in prop::collection::vec(text(0..5), 0..5),
        pieces in prop::collection::vec(text(0..6), 0..12),
    ) {
        let (out, found, held) = piecewise(&stops, &pieces);
        prop_assert_eq!((out, found), naive(&stops, &pieces.concat()));
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        prop_assert!(held <= longest.saturating_sub(1), "{held} bytes held back");
    }
}
