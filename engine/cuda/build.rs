//! Compiles the kernels with nvcc, each file to an image of its own, and embeds them.
//!
//! nvcc is named by `ANTIPHON_NVCC`, or found on the path or in CUDA's usual place. Where there is
//! none, nothing is embedded, and the backend says so when it is asked for.
//! `ANTIPHON_CUDA_ARCHS` names the architectures, as in `80,89,90a`.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::hash::Hasher as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const ARCHS: &str = "80,89,90a";
/// A compiler takes about a gigabyte.
const AT_ONCE: usize = 2;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    println!("cargo::rerun-if-changed=kernels");
    for name in ["ANTIPHON_NVCC", "ANTIPHON_CUDA_ARCHS"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let archs = env::var("ANTIPHON_CUDA_ARCHS").unwrap_or_else(|_| ARCHS.to_owned());
    let (images, toolkit) = match nvcc() {
        Some(nvcc) => {
            let version = version(&nvcc)?;
            (compile(&nvcc, &version, &archs, &out)?, release(&version)?)
        }
        None => {
            println!(
                "cargo::warning=nvcc was not found (ANTIPHON_NVCC, PATH, /usr/local/cuda/bin): \
                 this build has no CUDA kernels"
            );
            (Vec::new(), (0, 0))
        }
    };
    let mut code =
        format!("const ARCHS: &str = {archs:?};\nconst TOOLKIT: (i32, i32) = {toolkit:?};\n");
    code += "static IMAGES: &[(&str, &[u8])] = &[\n";
    for (name, image) in images {
        writeln!(code, "    ({name:?}, include_bytes!({:?})),", image.display())?;
    }
    code.push_str("];\n");
    fs::write(out.join("images.rs"), code)?;
    Ok(())
}

fn nvcc() -> Option<PathBuf> {
    if let Some(named) = env::var_os("ANTIPHON_NVCC").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = PathBuf::from("/usr/local/cuda/bin");
    env::split_paths(&path).chain([usual]).map(|folder| folder.join("nvcc")).find(|at| at.is_file())
}

/// What nvcc says of itself.
fn version(nvcc: &Path) -> Result<String, Failure> {
    let said = Command::new(nvcc).arg("--version").output();
    let said = said.map_err(|error| format!("{} does not run: {error}", nvcc.display()))?;
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

/// Major and minor number of what says `release 13.0`.
fn release(version: &str) -> Result<(i32, i32), Failure> {
    let number = version.split_once("release ").map_or("", |(_, rest)| rest);
    let number = number.split_once(',').map_or("", |(number, _)| number);
    let (major, minor) = number.split_once('.').ok_or("nvcc does not say which release it is")?;
    Ok((major.parse()?, minor.parse()?))
}

/// Compiles what changed since the last time, and says where each image is.
fn compile(
    nvcc: &Path,
    version: &str,
    archs: &str,
    out: &Path,
) -> Result<Vec<(String, PathBuf)>, Failure> {
    let kernels = Path::new("kernels");
    let mut sources: Vec<_> = files(kernels, "cu")?;
    sources.sort();
    let next = AtomicUsize::new(0);
    let work = || -> Result<(), Failure> {
        loop {
            let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return Ok(());
            };
            let mut read = BTreeMap::new();
            contents(source, &mut read)?;
            let key = (read, archs, version);
            compile_one(nvcc, source, &image(out, source), archs, hash(&key))?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a panic")?)
    })?;
    Ok(sources.iter().map(|source| (stem(source), image(out, source))).collect())
}

/// One image for all architectures, unless it is there already.
fn compile_one(
    nvcc: &Path,
    source: &Path,
    image: &Path,
    archs: &str,
    key: u64,
) -> Result<(), Failure> {
    let stamp = image.with_extension("key");
    let key = format!("{key:016x}");
    if image.is_file() && fs::read_to_string(&stamp).is_ok_and(|old| old == key) {
        return Ok(());
    }
    let mut command = Command::new(nvcc);
    command.args(["-O3", "-std=c++17", "--fatbin", "-Werror", "all-warnings"]);
    for arch in archs.split(',').map(str::trim) {
        command.arg(format!("-gencode=arch=compute_{arch},code=sm_{arch}"));
    }
    let done = command.arg(source).arg("-o").arg(image).output()?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(format!("nvcc refuses {}:\n{said}", source.display()).into());
    }
    fs::write(stamp, key)?;
    Ok(())
}

fn image(out: &Path, source: &Path) -> PathBuf {
    out.join(stem(source)).with_extension("fatbin")
}

fn stem(path: &Path) -> String {
    path.file_stem().and_then(OsStr::to_str).unwrap_or_default().to_owned()
}

fn hash(key: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Files with an extension, in a folder and those below it.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension() == Some(OsStr::new(extension)) {
            found.push(path);
        }
    }
    Ok(found)
}

/// A file, and those that it includes by name, whatever folders they are in.
fn contents(path: &Path, read: &mut BTreeMap<PathBuf, String>) -> Result<(), Failure> {
    if read.contains_key(path) {
        return Ok(());
    }
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let names = text.lines().filter_map(|line| line.strip_prefix("#include \"")?.split('"').next());
    let included: Vec<_> = names.map(|name| folder.join(name)).collect();
    read.insert(path.to_owned(), text);
    included.iter().try_for_each(|path| contents(path, read))
}
