//! Which files of a repository make a model.

use std::fs;

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use super::hub::Hub;

/// Says that a folder is there completely: it is fetched after all others.
const LAST: &str = "config.json";

const INDEX: &str = "model.safetensors.index.json";
const WHOLE: &str = "model.safetensors";

/// What else of a folder is of use.
const TEXT: &[&str] =
    &["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];

/// The files that make a model, in the order in which they are to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// A GGUF file, or all parts of one, the first one first.
    Gguf(Vec<String>),
    /// A folder with a `config.json`.
    Folder(Vec<String>),
}

impl Contents {
    /// What a file belongs to: itself, or all parts of a GGUF file in several.
    pub(super) fn of(file: &str) -> Self {
        Self::Gguf(parts(file).unwrap_or_else(|| vec![file.to_owned()]))
    }

    /// What a repository is good for that has only one thing: what of it is in the cache, or else
    /// what the server lists.
    ///
    /// # Errors
    /// There are several models or none, or the server cannot be asked.
    pub(super) fn only(hub: &Hub, owner: &str, name: &str, cache: &Cache) -> Result<Self> {
        let source = format!("hf:{owner}/{name}");
        let cached = cached_files(cache, owner, name);
        if let Some(contents) = only_gguf(&cached).or_else(|| folder(&cached)) {
            return Ok(contents);
        }
        let files = hub.list(owner, name).with_context(|| format!("cannot list {source}"))?;
        let contents = only_gguf(&files);
        let ggufs: Vec<_> = files.iter().filter(|file| file.ends_with(".gguf")).collect();
        if contents.is_none() && !ggufs.is_empty() {
            bail!(
                "{source} has several GGUF files; name one of them: {}",
                ggufs.iter().map(|file| format!("{source}/{file}")).collect::<Vec<_>>().join(", ")
            );
        }
        contents.or_else(|| folder(&files)).with_context(|| {
            format!("{source} has no GGUF file, and no config.json with a {WHOLE} or {INDEX}")
        })
    }
}

/// The one GGUF file, or all parts of it.
fn only_gguf(files: &[String]) -> Option<Contents> {
    let mut ggufs: Vec<_> = files.iter().filter(|file| file.ends_with(".gguf")).collect();
    ggufs.sort();
    let Contents::Gguf(expected) = Contents::of(ggufs.first()?) else { return None };
    expected.iter().eq(ggufs).then_some(Contents::Gguf(expected))
}

/// The files of a folder that are of use, if it is a model's.
fn folder(files: &[String]) -> Option<Contents> {
    let has = |name: &str| files.iter().any(|file| file == name);
    let is_shard = |file: &&String| {
        file.starts_with("model-") && file.ends_with(".safetensors") && !file.contains('/')
    };
    let mut wanted: Vec<_> =
        TEXT.iter().filter(|name| has(name)).map(|&name| name.into()).collect();
    if has(INDEX) {
        wanted.push(INDEX.to_owned());
        wanted.extend(files.iter().filter(is_shard).cloned());
    } else if has(WHOLE) {
        wanted.push(WHOLE.to_owned());
    } else {
        return None;
    }
    wanted.push(LAST.to_owned());
    has(LAST).then_some(Contents::Folder(wanted))
}

/// All parts of a GGUF file one of which this is: `NAME-00001-of-00003.gguf`.
fn parts(file: &str) -> Option<Vec<String>> {
    let number = |text: &str| {
        let digits = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    let (rest, count) = file.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (base, part) = rest.rsplit_once('-')?;
    let (count, part) = (number(count)?, number(part)?);
    let all = (1..=count).map(|part| format!("{base}-{part:05}-of-{count:05}.gguf"));
    (1..=count).contains(&part).then(|| all.collect())
}

/// The files of a repository that are in the cache already.
fn cached_files(cache: &Cache, owner: &str, name: &str) -> Vec<String> {
    let place = cache.place(["hf", owner, name]);
    let Ok(entries) = fs::read_dir(place.path()) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str]) -> Vec<String> {
        files.iter().map(|&file| file.to_owned()).collect()
    }

    #[test]
    fn a_part_leads_to_all_parts() {
        let all = names(&["q/a-00001-of-00002.gguf", "q/a-00002-of-00002.gguf"]);
        for file in &all {
            assert_eq!(Contents::of(file), Contents::Gguf(all.clone()));
        }
        for alone in ["a.gguf", "a-00003-of-00002.gguf", "a-1-of-2.gguf", "a-00001-of-00002.bin"] {
            assert_eq!(Contents::of(alone), Contents::Gguf(names(&[alone])));
        }
        assert_eq!(only_gguf(&all), Some(Contents::Gguf(all.clone())));
        assert_eq!(only_gguf(&all[1..]), None);
        assert_eq!(only_gguf(&names(&["a.gguf", "b.gguf"])), None);
    }

    #[test]
    fn of_a_folder_only_what_is_of_use_is_fetched_and_its_config_last() {
        let sharded = names(&[
            "README.md",
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "onnx/model-x.safetensors",
            "pytorch_model.bin",
            "tokenizer.json",
        ]);
        let wanted = [
            "tokenizer.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "config.json",
        ];
        assert_eq!(folder(&sharded), Some(Contents::Folder(names(&wanted))));
        let whole = names(&["model.safetensors", "config.json"]);
        assert_eq!(folder(&whole), Some(Contents::Folder(whole.clone())));
        assert_eq!(folder(&whole[..1]), None);
        assert_eq!(folder(&whole[1..]), None);
    }
}
