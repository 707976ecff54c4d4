//! Random numbers that are a function of a seed and a counter.

/// The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014).
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A number of `[0, 1)`, uniform over counters and over seeds.
pub(crate) fn uniform(seed: u64, counter: u32) -> f64 {
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    // The seed is mixed on its own first, so that neighbouring seeds don't share a sequence.
    let start = mix(seed.wrapping_add(GAMMA));
    let x = mix(start.wrapping_add((u64::from(counter) + 1).wrapping_mul(GAMMA)));
    (x >> 11) as f64 / (1_u64 << 53) as f64
}
