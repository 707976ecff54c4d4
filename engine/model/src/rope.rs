//! Rotary position embedding as checkpoints describe it, with what stretches it over longer
//! contexts.

use std::f64::consts::TAU;

use engine_backend::{Rope, RopePairs};

use crate::ModelError;
use crate::keys::{Keys, SIZES};

/// Which layers a rotation is for, where a model has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those that see all positions; in most models that is all layers.
    Global,
    /// Those that see a window.
    Local,
}

/// Where a checkpoint keeps a rotation's numbers.
struct Scope<'a> {
    keys: &'a Keys<'a>,
    /// The key of the base.
    base: (&'static str, String),
    /// What keys of a `config.json` begin with.
    scaling: Option<String>,
    base_default: f32,
}

/// Reads a rotation of heads of `dim`, trained for `context` positions.
pub(crate) fn read(
    keys: &Keys<'_>,
    reach: Reach,
    (dim, context): (usize, usize),
) -> Result<Rope, ModelError> {
    let scope = Scope::new(keys, reach);
    let dims = keys.size_or(("rope.dimension_count", ""), &SIZES, dim)?;
    if dims > dim || !dims.is_multiple_of(2) {
        let expected = format!("an even number up to {dim}, the size of a head");
        return Err(keys.range(("rope.dimension_count", ""), dims, expected));
    }
    let base = keys.number_or((scope.base.0, &scope.base.1), scope.base_default)?.into();
    let plain = Frequencies { base, dims, context };
    let (frequencies, magnitude) = scope.stretch(&plain)?;
    let frequencies = frequencies.into_iter().map(|frequency| frequency as f32).collect();
    // Where rotated pairs are neighbours, the architecture says so.
    Ok(Rope { pairs: RopePairs::Halves, frequencies, magnitude })
}

impl<'a> Scope<'a> {
    fn new(keys: &'a Keys<'a>, reach: Reach) -> Self {
        let (gguf, own, table) = match reach {
            Reach::Global => ("rope.freq_base", "rope_theta", "full_attention"),
            Reach::Local => ("rope.freq_base_swa", "rope_local_base_freq", "sliding_attention"),
        };
        let base_default = 10_000.0;
        let scaled = format!("rope_parameters.{table}");
        let (base, scaling) = if keys.has(("", &scaled)) {
            (format!("{scaled}.rope_theta"), Some(scaled))
        } else if keys.has(("", "rope_parameters")) {
            ("rope_parameters.rope_theta".to_owned(), Some("rope_parameters".to_owned()))
        } else {
            // A window is never stretched.
            (own.to_owned(), (reach == Reach::Global).then(|| "rope_scaling".to_owned()))
        };
        let scaling = scaling.filter(|_| reach == Reach::Global || !keys.are_ggufs());
        Self { keys, base: (gguf, base), scaling, base_default }
    }

    /// The frequencies as the checkpoint stretches them, and the factor on sines and cosines.
    fn stretch(&self, plain: &Frequencies) -> Result<(Vec<f64>, f32), ModelError> {
        let Some(scaling) = &self.scaling else { return Ok((plain.all().collect(), 1.0)) };
        let names = format!("{scaling}.rope_type|{scaling}.type");
        let kind = ("rope.scaling.type", &*names);
        match self.keys.string_if(kind)?.as_deref().unwrap_or("default") {
            "default" | "none" => Ok((plain.all().collect(), 1.0)),
            "linear" => {
                let factor = self.number("factor", "factor")?;
                Ok((plain.all().map(|frequency| frequency / factor).collect(), 1.0))
            }
            "llama3" => Ok((self.llama3(plain)?, 1.0)),
            "yarn" => self.yarn(plain),
            found => {
                let expected = "none, linear, llama3 or yarn";
                Err(self.keys.range(kind, found.escape_debug(), expected))
            }
        }
    }

    fn number(&self, gguf: &str, config: &str) -> Result<f64, ModelError> {
        let (gguf, config) = self.names(gguf, config);
        Ok(self.keys.number((&gguf, &config))?.into())
    }

    fn number_or(&self, gguf: &str, config: &str, default: f64) -> Result<f64, ModelError> {
        let (gguf, config) = self.names(gguf, config);
        Ok(self.keys.number_or((&gguf, &config), default as f32)?.into())
    }

    /// Positions that the model was first trained for.
    fn original_context(&self, default: usize) -> Result<f64, ModelError> {
        let (gguf, config) =
            self.names("original_context_length", "original_max_position_embeddings");
        Ok(self.keys.size_or((&gguf, &config), &(1..=1 << 30), default)? as f64)
    }

    fn names(&self, gguf: &str, config: &str) -> (String, String) {
        let scaling = self.scaling.as_deref().unwrap_or_default();
        let under = |prefix: &str, names: &str| {
            let names = names.split('|').filter(|name| !name.is_empty());
            names.map(|name| format!("{prefix}.{name}")).collect::<Vec<_>>().join("|")
        };
        (under("rope.scaling", gguf), under(scaling, config))
    }

    /// Long waves are stretched, short ones are not, those between in part (Grattafiori et al.,
    /// "The Llama 3 Herd of Models", 2024).
    fn llama3(&self, plain: &Frequencies) -> Result<Vec<f64>, ModelError> {
        let factor = self.number("", "factor")?;
        let low = self.number("", "low_freq_factor")?;
        let high = self.number("", "high_freq_factor")?;
        let context = self.number("", "original_max_position_embeddings")?;
        let stretch = |frequency: f64| {
            let waves = context * frequency / TAU;
            let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
            frequency * (kept + (1.0 - kept) / factor)
        };
        Ok(plain.all().map(stretch).collect())
    }

    /// As `llama3`, with a ramp over pairs rather than over waves, and with flatter scores (Peng et
    /// al., "YaRN: Efficient Context Window Extension of Large Language Models", 2023).
    fn yarn(&self, plain: &Frequencies) -> Result<(Vec<f64>, f32), ModelError> {
        let factor = self.number("factor", "factor")?;
        let context = self.original_context(plain.context)?;
        let fast = self.number_or("yarn_beta_fast", "beta_fast", 32.0)?;
        let slow = self.number_or("yarn_beta_slow", "beta_slow", 1.0)?;
        let first = plain.pair_of(context, fast).floor().max(0.0);
        let last = plain.pair_of(context, slow).ceil().min(plain.dims as f64 - 1.0);
        let ramp = |pair: usize| ((pair as f64 - first) / (last - first).max(1e-3)).clamp(0.0, 1.0);
        let stretched = plain.all().enumerate().map(|(pair, frequency)| {
            frequency * (1.0 - ramp(pair)) + frequency / factor * ramp(pair)
        });
        let flatter = if factor > 1.0 { 1.0 + 0.1 * factor.ln() } else { 1.0 };
        let magnitude = if self.keys.are_ggufs() {
            flatter * self.number_or("yarn_attn_factor|attn_factor", "", 1.0)?
        } else {
            self.number_or("", "attention_factor", flatter)?
        };
        Ok((stretched.collect(), magnitude as f32))
    }
}

/// Before any stretching.
struct Frequencies {
    base: f64,
    dims: usize,
    context: usize,
}

impl Frequencies {
    /// Radians a position, of each pair.
    fn all(&self) -> impl Iterator<Item = f64> {
        (0..self.dims / 2).map(|pair| self.base.powf(-2.0 * pair as f64 / self.dims as f64))
    }

    /// The pair, not a whole number, that turns `times` in a context.
    fn pair_of(&self, context: f64, times: f64) -> f64 {
        self.dims as f64 * (context / (times * TAU)).ln() / (2.0 * self.base.ln())
    }
}
