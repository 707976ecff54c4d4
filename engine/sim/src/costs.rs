//! What steps take, as a file of measurements has it.
//!
//! The time of a step is `f(positions) + sampled_us · sampled + read_ns · reads + pair_ns · pairs`:
//! `f` is a line between measured points, `sampled` are the rows that draw a token, `reads` the
//! cached positions that rows of one position read, and `pairs` the pairs of a position and one
//! that it attends to in longer rows.

use std::time::Duration;

use engine_contract::StepPlan;
use serde::Deserialize;

/// What a step takes on one device with one model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostModel {
    /// What was measured, in words.
    pub name: String,
    /// Most positions of one sequence.
    pub context: u32,
    /// Bytes of keys and values of one position, over all layers.
    pub kv_position_bytes: u64,
    /// Bytes of the cache where the configuration does not say it.
    pub kv_bytes: u64,
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// Points of `f`: positions and milliseconds, by ascending positions.
    points_ms: Vec<(u32, f64)>,
    sampled_us: f64,
    read_ns: f64,
    pair_ns: f64,
}

/// Why a file of costs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CostError {
    /// It is not of this form.
    #[error("{}", .0.to_string().trim_end())]
    Form(#[from] toml::de::Error),
    /// A number cannot be.
    #[error("{key} is {found}, expected {expected}")]
    OutOfRange {
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
}

impl CostModel {
    /// The demo model on two CPU cores.
    ///
    /// # Panics
    /// Never: a test reads the same file.
    #[must_use]
    pub fn cpu() -> Self {
        Self::parse(CPU).expect("a file that a test reads")
    }

    /// A mixture of 30 billion weights, 3 of them active, on one H100.
    ///
    /// # Panics
    /// Never: a test reads the same file.
    #[must_use]
    pub fn h100() -> Self {
        Self::parse(H100).expect("a file that a test reads")
    }

    /// Reads a model from TOML, and checks every number.
    ///
    /// # Errors
    /// It is not of this form, which the message says with line and column, or a number cannot be.
    pub fn parse(text: &str) -> Result<Self, CostError> {
        let costs: Self = toml::from_str(text)?;
        costs.check()?;
        Ok(costs)
    }

    /// How long a step takes.
    #[must_use]
    pub fn time(&self, plan: &StepPlan) -> Duration {
        let (mut positions, mut sampled, mut reads, mut pairs) = (0, 0, 0_u64, 0_u64);
        for row in &plan.rows {
            let (start, len) = (u64::from(row.start), row.tokens.len() as u64);
            positions += len;
            sampled += u32::from(row.sample.is_some());
            let num_pairs = len * start + len * (len + 1) / 2;
            if len == 1 { reads += num_pairs } else { pairs += num_pairs }
        }
        let micros = self.positions_us(positions)
            + self.sampled_us * f64::from(sampled)
            + self.read_ns * reads as f64 / 1e3
            + self.pair_ns * pairs as f64 / 1e3;
        Duration::from_nanos((micros * 1e3) as u64)
    }

    /// `f`: between points a line, before the first one constant, after the last one as steep as
    /// between the last two.
    fn positions_us(&self, positions: u64) -> f64 {
        let positions = positions as f64;
        let after = self.points_ms.partition_point(|&(at, _)| f64::from(at) < positions);
        let last = self.points_ms.len() - 1;
        let (from, to) = match after {
            0 => return 1e3 * self.points_ms[0].1,
            _ => (self.points_ms[after.min(last) - 1], self.points_ms[after.min(last)]),
        };
        let width = f64::from(to.0 - from.0);
        1e3 * (from.1 + (positions - f64::from(from.0)) / width * (to.1 - from.1))
    }

    fn check(&self) -> Result<(), CostError> {
        let out_of_range = |key: &str, found: String, expected| {
            Err(CostError::OutOfRange { key: key.to_owned(), found, expected })
        };
        let sizes = [
            ("context", u64::from(self.context)),
            ("kv_position_bytes", self.kv_position_bytes),
            ("kv_bytes", self.kv_bytes),
        ];
        if let Some((key, _)) = sizes.iter().find(|&&(_, size)| size == 0) {
            return out_of_range(key, "0".to_owned(), "at least 1");
        }
        let each =
            [("sampled_us", self.sampled_us), ("read_ns", self.read_ns), ("pair_ns", self.pair_ns)];
        let is_time = |time: f64| (0.0..1e9).contains(&time);
        if let Some((key, time)) = each.iter().find(|&&(_, time)| !is_time(time)) {
            return out_of_range(key, time.to_string(), "from 0 to 1e9");
        }
        if self.points_ms.len() < 2 {
            return out_of_range(
                "points_ms",
                format!("{:?}", self.points_ms),
                "at least two points",
            );
        }
        let is_right = |pair: &[(u32, f64)]| {
            pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1 && pair.iter().all(|&(_, t)| is_time(t))
        };
        let wrong = self.points_ms.windows(2).position(|pair| !is_right(pair));
        let first = || (self.points_ms[0].1 <= 0.0).then_some(0);
        let wrong = wrong.map(|index| index + 1).or_else(first);
        match wrong {
            None => Ok(()),
            Some(index) => out_of_range(
                &format!("points_ms[{index}]"),
                format!("{:?}", self.points_ms[index]),
                "more positions than the point before, and no less time, from above 0 to 1e9",
            ),
        }
    }
}

const CPU: &str = include_str!("../../../configs/costs/cpu-2-cores.toml");
const H100: &str = include_str!("../../../configs/costs/h100-qwen3-30b-a3b.toml");

#[cfg(test)]
mod tests;
