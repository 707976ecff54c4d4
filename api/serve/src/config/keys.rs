//! Finding the key that was meant.

/// The key of `known` that reads most like `key`. Someone who forgot the section, or guessed
/// another one, still wrote the last part right: it is compared alone too.
pub(crate) fn nearest<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (likeness(key, candidate), candidate))
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

fn likeness(key: &str, candidate: &str) -> f64 {
    let whole = strsim::jaro_winkler(key, candidate);
    let last = strsim::jaro_winkler(last_part(key), last_part(candidate));
    whole.max(0.99 * last)
}

fn last_part(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, last)| last)
}
