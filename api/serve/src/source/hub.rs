//! Fetching from Hugging Face, or from a server that speaks like it.
//!
//! A file is first asked about (its size, and its SHA-256 where the server knows it), then fetched.
//! What has arrived is kept in `FILE.IDENTITY.partial`, named for the exact content, and continued
//! with a range request after an interruption. The token, if there is one, goes to the server named
//! in `HF_ENDPOINT` alone, never to where it redirects, and into no message.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use ureq::Agent;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LOCATION, RANGE};
use ureq::http::{Response, StatusCode};
use ureq::{Body, config::RedirectAuthHeaders};

use super::Repository;
use super::cache::Lock;
use super::digest::{Hashing, is_sha256};
use super::progress::{Progress, Telling};

const ENDPOINT: &str = "https://huggingface.co";

/// Moved repositories answer with a redirect on the same server; more than these is a loop.
const MOVES_MAX: usize = 5;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest silence of a server.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A server of models.
pub(crate) struct Hub {
    endpoint: String,
    token: Option<Token>,
    agent: Agent,
}

/// A secret: shown as stars only.
struct Token(String);

/// What the server says of a file before it is fetched.
struct Remote {
    address: String,
    size: Option<u64>,
    /// The entity tag: the SHA-256 for large files, something opaque for others.
    tag: Option<String>,
}

#[derive(Deserialize)]
struct Listing {
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Hub {
    /// `HF_ENDPOINT` and `HF_TOKEN`.
    ///
    /// # Errors
    /// The endpoint is not an address.
    pub(crate) fn from_environment() -> Result<Self> {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        ensure!(
            endpoint.starts_with("https://") || endpoint.starts_with("http://"),
            "HF_ENDPOINT must begin with https:// or http://"
        );
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::Never)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(READ_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .user_agent(concat!("antiphon/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        Ok(Self { endpoint, token: set("HF_TOKEN").map(Token), agent })
    }

    /// Fetches a file, and puts it in its place.
    ///
    /// # Errors
    /// The server refuses, cannot be reached, or sends something else than it said.
    pub(crate) fn fetch(&self, repository: &Repository, lock: &Lock) -> Result<()> {
        let Repository { owner, name, file } = repository;
        let file = file.as_deref().context("no file is named")?;
        let remote = self.ask(format!("{}/{owner}/{name}/resolve/main/{file}", self.endpoint))?;
        let digest = remote.tag.as_deref().filter(|tag| is_sha256(tag));
        let partial = remote.partial(lock);
        let mut progress = Progress::new(file, remote.size);
        let got = loop {
            let before = length(&partial);
            match self.advance(&remote, &partial, &mut progress) {
                Ok(got) => break got,
                // An attempt that brought something is worth another one.
                Err(_) if remote.tag.is_some() && length(&partial) > before => {}
                Err(error) => return Err(error),
            }
        };
        lock.publish(&partial, &got, digest)
    }

    /// The files of a repository.
    ///
    /// # Errors
    /// The server refuses, or cannot be reached or understood.
    pub(super) fn list(&self, owner: &str, name: &str) -> Result<Vec<String>> {
        let mut response =
            self.get(&format!("{}/api/models/{owner}/{name}", self.endpoint), None)?;
        accept(&response)?;
        let body = response.body_mut().read_to_string().map_err(offline)?;
        let listing: Listing =
            serde_json::from_str(&body).context("the server's list of files is malformed")?;
        let mut files: Vec<String> = listing.siblings.into_iter().map(|s| s.rfilename).collect();
        files.sort();
        Ok(files)
    }

    /// What the server says of a file. It is asked without following redirects, because the
    /// redirect itself carries the checksum.
    fn ask(&self, mut address: String) -> Result<Remote> {
        for _ in 0..MOVES_MAX {
            let response = self.head(&address)?;
            let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
            let moved = header(LOCATION.as_str()).filter(|to| to.starts_with('/'));
            if let (true, Some(to)) = (response.status().is_redirection(), moved) {
                address = format!("{}{to}", self.endpoint);
                continue;
            }
            if !response.status().is_redirection() {
                accept(&response)?;
            }
            let tag = header("x-linked-etag").or_else(|| header(ETAG.as_str()));
            let size = header("x-linked-size").or_else(|| {
                header(CONTENT_LENGTH.as_str()).filter(|_| response.status().is_success())
            });
            return Ok(Remote {
                tag: tag.map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_lowercase()),
                size: size.and_then(|size| size.parse().ok()),
                address,
            });
        }
        bail!("the server redirects without end")
    }

    /// One attempt to get what is missing. Returns the SHA-256 of the whole.
    fn advance(
        &self,
        remote: &Remote,
        partial: &PathBuf,
        progress: &mut Progress,
    ) -> Result<String> {
        let have = if remote.tag.is_some() { length(partial) } else { 0 };
        let complete = have > 0 && remote.size == Some(have);
        let mut response = match have {
            _ if complete => None,
            0 => Some(self.get(&remote.address, None)?),
            _ => Some(self.get(&remote.address, Some(have))?),
        };
        let continues = match &response {
            None => true,
            Some(response) => continues(response, have)?,
        };
        let file = File::options()
            .write(true)
            .create(true)
            .append(continues)
            .truncate(!continues)
            .open(partial)
            .context("cannot create a file in the cache")?;
        let mut out = Hashing::new(file);
        if continues {
            out.resume(File::open(partial).context("cannot read the cache")?)?;
        }
        if let Some(response) = &mut response {
            let bytes = if continues { have } else { 0 };
            let mut telling = Telling { inner: &mut out, progress, bytes };
            io::copy(&mut response.body_mut().as_reader(), &mut telling)
                .context("the transfer broke off; pull again to continue it")?;
        }
        let (file, digest, written) = out.finish();
        file.sync_all().context("cannot write the cache")?;
        if let Some(size) = remote.size {
            if written > size {
                fs::remove_file(partial).context("cannot delete a file that is too long")?;
            }
            ensure!(written == size, "{written} of {size} bytes arrived; pull again to continue");
        }
        Ok(digest)
    }

    fn head(&self, address: &str) -> Result<Response<Body>> {
        let request = self.agent.head(address).config().max_redirects(0);
        let mut request = request.max_redirects_will_error(false).build();
        if let Some(Token(token)) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request.call().map_err(offline)
    }

    fn get(&self, address: &str, from: Option<u64>) -> Result<Response<Body>> {
        let mut request = self.agent.get(address);
        if let Some(Token(token)) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        request.call().map_err(offline)
    }
}

impl Remote {
    /// Where what arrives is kept. Without a tag nobody can say whether a later transfer is of the
    /// same content, so that one always begins anew.
    fn partial(&self, lock: &Lock) -> PathBuf {
        let tag = self.tag.as_deref().unwrap_or("unknown");
        let plain = |c: &char| c.is_ascii_alphanumeric();
        let identity: String = tag.chars().filter(plain).take(64).collect();
        lock.place().beside(&format!("{identity}.partial"))
    }
}

/// Whether the answer continues at `have`; if not, it is the whole.
fn continues(response: &Response<Body>, have: u64) -> Result<bool> {
    if have > 0 && response.status() == StatusCode::PARTIAL_CONTENT {
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let begins = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next());
        ensure!(
            begins == Some(have.to_string().as_str()),
            "the server answered another range than it was asked for"
        );
        return Ok(true);
    }
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        bail!("the server has fewer bytes than have arrived already ({have})");
    }
    accept(response)?;
    Ok(false)
}

fn accept(response: &Response<Body>) -> Result<()> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(());
    }
    match status.as_u16() {
        401 | 403 => bail!(
            "the server refuses ({status}): the repository does not exist, is private or gated; \
             set HF_TOKEN to a token that may read it"
        ),
        404 => bail!("the server has no such file ({status})"),
        _ => bail!("the server answers {status}"),
    }
}

fn offline(error: ureq::Error) -> anyhow::Error {
    anyhow!(error).context(
        "the server cannot be reached; is this machine offline? Once the model is in the cache no \
         network is needed; or name a model file with --model PATH",
    )
}

fn length(path: &PathBuf) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
