//! A Hugging Face folder: `config.json`, and tensors in one safetensors file or in several with an
//! index.

use std::collections::HashMap;
use std::path::Path;

use super::Config;
use super::error::Name;
use super::fault::{Fault, FileError};
use super::files::Files;
use super::json::Json;
use super::map::Map;
use super::safetensors::parse_safetensors;
use super::tensor::TensorInfo;

const CONFIG: &str = "config.json";
const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Several times what the largest models take.
const INDEX_BYTES_MAX: usize = 32 << 20;
const INDEX_VALUES_MAX: usize = 1 << 18;

/// Opens every file of a folder.
///
/// # Errors
/// A file is missing or damaged, or what it says contradicts another.
pub(crate) fn open_folder(folder: &Path) -> Result<(Config, Files), FileError> {
    let config = Config::open(&folder.join(CONFIG))?;
    let files = match folder.join(INDEX).symlink_metadata() {
        Ok(_) => open_shards(folder)?,
        Err(_) => open_files(folder, &[WHOLE.to_owned()])?,
    };
    Ok((config, files))
}

/// What an index says: the file of each tensor.
type Index = HashMap<String, String>;

fn open_shards(folder: &Path) -> Result<Files, FileError> {
    let index = read_index(&folder.join(INDEX))?;
    let mut shards: Vec<_> = index.values().cloned().collect();
    shards.sort_unstable();
    shards.dedup();
    let files = open_files(folder, &shards)?;
    check_index(&index, &shards, &files.tensors)?;
    Ok(files)
}

fn open_files(folder: &Path, names: &[String]) -> Result<Files, FileError> {
    let mut files = Files::default();
    for name in names {
        let wrong = |fault| FileError::new(name, fault);
        let map = open_map(&folder.join(name)).map_err(wrong)?;
        let bytes = map.range(0..map.length()).map_err(|error| wrong(error.into()))?;
        let tensors = parse_safetensors(&bytes).map_err(wrong)?;
        drop(bytes);
        files.add(name, map, tensors)?;
    }
    Ok(files)
}

/// Every tensor is where the index says.
fn check_index(index: &Index, shards: &[String], tensors: &[TensorInfo]) -> Result<(), FileError> {
    let mut missing: HashMap<&str, &str> =
        index.iter().map(|(tensor, shard)| (tensor.as_str(), shard.as_str())).collect();
    for tensor in tensors {
        let shard = shards[tensor.file].as_str();
        let instead = match missing.remove(tensor.name.as_str()) {
            Some(listed) if listed == shard => continue,
            Some(listed) => format!("says that it is in {}", Name::from(listed)),
            None => "does not list it".to_owned(),
        };
        let tensor = Name::from(&*tensor.name);
        return Err(FileError::new(shard, Fault::Unlisted { tensor, instead }));
    }
    match missing.into_iter().min() {
        None => Ok(()),
        Some((tensor, shard)) => Err(FileError::new(shard, Fault::Lacks { tensor: tensor.into() })),
    }
}

fn read_index(path: &Path) -> Result<Index, FileError> {
    parse_index(path).map_err(|fault| FileError::new(INDEX, fault))
}

fn parse_index(path: &Path) -> Result<Index, Fault> {
    let text = read_text(path, INDEX_BYTES_MAX)?;
    let Json::Object(mut members) = Json::parse(&text, INDEX_VALUES_MAX)? else {
        return Err(Fault::Json { reason: "it is not an object".to_owned() });
    };
    let (key, expected) = (Name::from("weight_map"), "an object of file names");
    let map = match members.remove("weight_map") {
        Some(Json::Object(map)) => map,
        Some(other) => return Err(Fault::WrongType { key, found: other.describe(), expected }),
        None => return Err(Fault::Missing { key, expected }),
    };
    map.into_iter()
        .map(|(tensor, shard)| Ok((tensor.clone(), shard_name(&tensor, shard)?)))
        .collect()
}

/// A shard is a file in the folder, wherever the index would have it.
fn shard_name(tensor: &str, shard: Json) -> Result<String, Fault> {
    let tensor = Name::from(tensor);
    let Json::String(shard) = shard else {
        let (found, expected) = (shard.describe(), "the name of a file");
        return Err(Fault::WrongType { key: tensor, found, expected });
    };
    if shard.ends_with(".safetensors") && !shard.contains(['/', '\\', '\0']) {
        return Ok(shard.into_string());
    }
    Err(Fault::ShardName { tensor, shard: Name::from(&*shard) })
}

/// A file of at most `most` bytes.
pub(super) fn read_text(path: &Path, most: usize) -> Result<Vec<u8>, Fault> {
    let map = open_map(path)?;
    if map.length() > most {
        let (found, most) = (map.length() as u64, most as u64);
        return Err(Fault::TooLong { what: "it", found, most });
    }
    Ok(map.range(0..map.length())?.to_vec())
}

fn open_map(path: &Path) -> Result<Map, Fault> {
    Map::open(path).map_err(Fault::of_opening)
}
