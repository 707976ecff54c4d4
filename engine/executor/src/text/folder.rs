//! What the files of a Hugging Face folder say about text.
//!
//! Beside `tokenizer.json` there may be `tokenizer_config.json` (which tokens begin and end a text,
//! the chat template), `chat_template.jinja` (a template that counts before that one) and
//! `generation_config.json` (which tokens end a turn, how tokens are drawn).

use std::fmt::Display;
use std::io::Read as _;
use std::ops::RangeInclusive;
use std::path::Path;
use std::{fs, io};

use engine_model::{Config, Fault, FileError};

use super::{SamplingDefaults, TextAssets, TokenizerAssets, TokenizerFile};

pub(super) const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TEMPLATE: &str = "chat_template.jinja";
const GENERATION: &str = "generation_config.json";
/// As requests may ask for it.
const REPETITION_PENALTY_MAX: f32 = 100.0;

/// Many times what the longest take.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;

pub(super) fn read(config: &Config, folder: &Path) -> Result<TextAssets, FileError> {
    let path = folder.join(TOKENIZER);
    if !path.exists() {
        return Err(FileError { file: TOKENIZER.into(), fault: Fault::Absent });
    }
    let tokenizer = if_there(folder, TOKENIZER_CONFIG)?;
    let generation = if_there(folder, GENERATION)?;
    let file = TokenizerFile {
        path,
        bos: token(&tokenizer, "bos_token")?,
        eos: token(&tokenizer, "eos_token")?,
        add_bos: tokenizer.bool("add_bos_token")?,
        ends: match ids(&generation, "eos_token_id")? {
            Some(ends) => ends,
            None => ids(config, "eos_token_id")?.unwrap_or_default(),
        },
    };
    let chat_template = match template_file(&folder.join(TEMPLATE))? {
        Some(source) => Some(source),
        None => template(&tokenizer)?,
    };
    let sampling = sampling(&generation)?;
    Ok(TextAssets { tokenizer: TokenizerAssets::File(file), chat_template, sampling })
}

/// A file that may be absent, which is as good as an empty one.
fn if_there(folder: &Path, name: &str) -> Result<Config, FileError> {
    let path = folder.join(name);
    if path.exists() { Config::open(&path) } else { Config::parse(name, b"{}") }
}

/// The text of a token: by itself, or with what else is known of the token around it.
fn token(config: &Config, key: &str) -> Result<Option<String>, FileError> {
    let content = format!("{key}.content");
    let key = if config.has(&content) { &content } else { key };
    Ok(config.string(key)?.map(str::to_owned))
}

/// Ids of tokens: one, or several.
fn ids(config: &Config, key: &str) -> Result<Option<Vec<u32>>, FileError> {
    // An array has a first element, unless it is empty.
    if config.has(&format!("{key}.0")) {
        return config.integers(key);
    }
    config.integers(key).or_else(|_| Ok(config.u32(key)?.map(|id| vec![id])))
}

/// A template: its source, or several with names, of which the one named `default` counts.
fn template(config: &Config) -> Result<Option<String>, FileError> {
    let key = "chat_template";
    if !config.has(&format!("{key}.0")) {
        return Ok(config.string(key)?.map(str::to_owned));
    }
    for index in 0.. {
        let at = format!("{key}.{index}");
        if !config.has(&at) {
            break;
        }
        if config.string(&format!("{at}.name"))? == Some("default") {
            return Ok(config.string(&format!("{at}.template"))?.map(str::to_owned));
        }
    }
    Ok(None)
}

fn template_file(path: &Path) -> Result<Option<String>, FileError> {
    let wrong = |fault: Fault| FileError { file: TEMPLATE.into(), fault };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.into())),
    };
    let mut source = String::new();
    let read = file.take(TEMPLATE_BYTES_MAX + 1).read_to_string(&mut source);
    read.map_err(|error| wrong(error.into()))?;
    if source.len() as u64 > TEMPLATE_BYTES_MAX {
        let (found, most) = (source.len() as u64, TEMPLATE_BYTES_MAX);
        return Err(wrong(Fault::TooLong { what: "it", found, most }));
    }
    Ok(Some(source))
}

fn sampling(config: &Config) -> Result<SamplingDefaults, FileError> {
    let number = |key: &str, range: RangeInclusive<f32>| match config.f32(key)? {
        Some(found) if !range.contains(&found) => {
            Err(out_of_range(key, found, format!("{} to {}", range.start(), range.end())))
        }
        found => Ok(found),
    };
    Ok(SamplingDefaults {
        temperature: number("temperature", 0.0..=2.0)?,
        top_k: config.u32("top_k")?,
        top_p: number("top_p", 0.0..=1.0)?,
        min_p: number("min_p", 0.0..=1.0)?,
        repetition_penalty: repetition_penalty(config)?,
    })
}

/// Logits are divided by it, so it is not 0.
fn repetition_penalty(config: &Config) -> Result<Option<f32>, FileError> {
    let key = "repetition_penalty";
    match config.f32(key)? {
        Some(found) if found <= 0.0 || found > REPETITION_PENALTY_MAX => {
            let expected = format!("more than 0, and at most {REPETITION_PENALTY_MAX}");
            Err(out_of_range(key, found, expected))
        }
        found => Ok(found),
    }
}

fn out_of_range(key: &str, found: impl Display, expected: String) -> FileError {
    let fault = Fault::Range { key: key.into(), found: found.to_string(), expected };
    FileError { file: GENERATION.into(), fault }
}
