//! What a specification leaves to chance: gaps between arrivals, and lengths.

use fastrand::Rng;

/// Above 0 and at most 1.
fn unit(rng: &mut Rng) -> f64 {
    1.0 - rng.f64()
}

/// With mean 1.
pub(super) fn exponential(rng: &mut Rng) -> f64 {
    -unit(rng).ln()
}

/// With mean 0 and deviation 1 (Box and Muller, 1958).
pub(super) fn normal(rng: &mut Rng) -> f64 {
    let angle = std::f64::consts::TAU * rng.f64();
    (2.0 * exponential(rng)).sqrt() * angle.cos()
}

/// With mean 1 and variance `1 / shape` (Marsaglia and Tsang, "A Simple Method for Generating Gamma
/// Variables", 2000).
pub(super) fn gamma(rng: &mut Rng, shape: f64) -> f64 {
    if shape < 1.0 {
        // Of one more, then scaled back, as they say.
        let scale = unit(rng).powf(1.0 / shape);
        return gamma(rng, shape + 1.0) * (shape + 1.0) * scale / shape;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && unit(rng).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v / shape;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance of many draws.
    fn moments(mut draw: impl FnMut(&mut Rng) -> f64) -> (f64, f64) {
        let mut rng = Rng::with_seed(1);
        let values: Vec<_> = (0..200_000).map(|_| draw(&mut rng)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (mean, squares / values.len() as f64)
    }

    #[test]
    fn draws_have_the_moments_that_they_should() {
        for shape in [0.25, 1.0, 4.0] {
            let (mean, variance) = moments(|rng| gamma(rng, shape));
            assert!((mean - 1.0).abs() < 0.02, "{shape}: mean {mean}");
            assert!((variance * shape - 1.0).abs() < 0.05, "{shape}: variance {variance}");
        }
        let (mean, variance) = moments(exponential);
        assert!((mean - 1.0).abs() < 0.02 && (variance - 1.0).abs() < 0.05);
        let (mean, variance) = moments(normal);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.05);
    }
}
