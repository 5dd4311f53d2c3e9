//! Checkpoints from a model hub, through `hf-hub`: its paths, its revisions, its cache.
//!
//! A revision is resolved to its commit first, so that all files are of one state. What a hub says
//! becomes a path only after a check; a file is taken only when it is as long as the hub says and,
//! where the hub gives its SHA-256, is that file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::files::digest;
use super::import::Progress;
use super::stored::Source;
use crate::model::error::ModelError;

/// The longest name of a repository, a revision or a file, bytes.
const LONGEST_NAME: usize = 200;
/// How often a file is asked for before the hub is given up; each time goes on where the last
/// ended.
const TRIES: usize = 5;

/// Where models are fetched from and kept.
#[derive(Clone)]
pub struct Hub {
    /// The hub's address; `None` is the one that `hf-hub` knows.
    pub endpoint: Option<String>,
    /// The cache's folder, in the layout that all tools of the hub share.
    pub cache: PathBuf,
    /// Sent to the hub, for repositories that are not public.
    pub token: Option<String>,
    /// Whether only the cache is asked.
    pub offline: bool,
    /// How long a hub may be silent.
    pub patience: Duration,
}

/// A repository's files in the cache.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The folder with the files.
    pub folder: PathBuf,
    /// The commit that they are of.
    pub commit: String,
}

impl Hub {
    /// Fetches those of a repository's files that `wanted` picks from all names, as they were at a
    /// revision: a branch, a tag or a commit. What the cache holds is not fetched again; where the
    /// hub does not answer, the cache's commit of that revision is taken.
    pub fn fetch(
        &self,
        repository: &str,
        revision: &str,
        wanted: impl Fn(&[String]) -> Vec<String>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Fetched, ModelError> {
        let failed = |reason: String| ModelError::Hub { repository: repository.to_owned(), reason };
        check(repository, revision).map_err(failed)?;
        let at = |revision: &str| {
            let (repository, revision) = (repository.to_owned(), revision.to_owned());
            Repo::with_revision(repository, RepoType::Model, revision)
        };
        let cache = Cache::new(self.cache.clone());
        progress(Progress { done: 0, of: 1, doing: "asking the hub" });
        let asked = if self.offline { Err("offline".to_owned()) } else { self.ask(at(revision)) };
        let (api, commit, names) = match asked {
            Ok((api, commit, names)) => {
                cache.repo(at(revision)).create_ref(&commit).map_err(|e| failed(e.to_string()))?;
                (Some(api), commit, names)
            }
            Err(reason) => {
                let Some(commit) = self.cached_commit(&at(revision)) else {
                    let cache = self.cache.display();
                    return Err(failed(format!("{reason}; nothing of it is in {cache}")));
                };
                tracing::warn!(repository, commit, reason, "the hub's cache is used");
                let names = names_under(&cache.repo(at(&commit)).pointer_path(&commit));
                (None, commit, names)
            }
        };
        let wanted = wanted(&names);
        if wanted.is_empty() {
            return Err(failed(format!("it holds no file of a known layout at {revision}")));
        }
        for name in &wanted {
            let cached = cache.repo(at(&commit)).pointer_path(&commit).join(name);
            if let (Some(api), false) = (&api, cached.is_file()) {
                let kept = cache.repo(at(&commit));
                let (repo, patience) = (at(&commit), self.patience);
                let mut download =
                    Download { repo, api, kept, commit: &commit, patience, progress };
                download.file(name).map_err(|reason| failed(format!("{name}: {reason}")))?;
            }
        }
        let folder = cache.repo(at(&commit)).pointer_path(&commit);
        Ok(Fetched { folder, commit })
    }

    /// The commit of a revision and the names of its files.
    fn ask(&self, repo: Repo) -> Result<(Api, String, Vec<String>), String> {
        let api = self.api().map_err(|e| e.to_string())?;
        let of = api.clone();
        let info = answered(self.patience, move |_| of.repo(repo).info(), |_| {});
        let info = info.map_err(Fault::reason)?.map_err(|e| self.said(&e))?;
        if info.sha.len() != 40 || !info.sha.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("the hub names no commit".to_owned());
        }
        let names = info.siblings.into_iter().map(|file| file.rfilename);
        Ok((api, info.sha, names.filter(|name| is_path(name)).collect()))
    }

    fn api(&self) -> Result<Api, ApiError> {
        let mut builder = ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_progress(false)
            .with_token(self.token())
            .with_user_agent("thorascribe", env!("CARGO_PKG_VERSION"));
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        builder.build()
    }

    /// The one given; for the default hub else the one that its own tools have kept.
    fn token(&self) -> Option<String> {
        let kept = || Cache::new(self.cache.clone()).token().filter(|_| self.endpoint.is_none());
        self.token.clone().or_else(kept)
    }

    fn said(&self, error: &ApiError) -> String {
        let place = self.endpoint.as_deref().unwrap_or("the default hub");
        format!("{place}: {error}")
    }

    /// The commit that the cache has for a revision.
    fn cached_commit(&self, repo: &Repo) -> Option<String> {
        let folder = self.cache.join(repo.folder_name());
        let named = std::fs::read_to_string(folder.join("refs").join(repo.revision())).ok();
        let commit = named.map_or(repo.revision().to_owned(), |text| text.trim().to_owned());
        let held = is_path(&commit) && folder.join("snapshots").join(&commit).is_dir();
        held.then_some(commit)
    }
}

/// One file on its way.
struct Download<'a> {
    repo: Repo,
    api: &'a Api,
    kept: CacheRepo,
    commit: &'a str,
    patience: Duration,
    progress: &'a mut dyn FnMut(Progress<'_>),
}

impl Download<'_> {
    fn file(&mut self, name: &str) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.once(name) {
                Ok(()) => return Ok(()),
                Err(Fault::Final(reason)) => return Err(reason),
                Err(Fault::Again(reason)) => last = reason,
            }
        }
        Err(format!("{last} ({TRIES} times; the next call goes on where this one ended)"))
    }

    fn once(&mut self, name: &str) -> Result<(), Fault> {
        let again = |e: ApiError| Fault::Again(e.to_string());
        let (api, url) = (self.api.clone(), self.api.repo(self.repo.clone()).url(name));
        let metadata = answered(self.patience, move |_| api.metadata(&url), |_| {})?;
        let metadata = metadata.map_err(again)?;
        let etag = metadata.etag();
        // A weak one stands in a folder of its own.
        if metadata.commit_hash() != self.commit || !is_word(etag.trim_start_matches("W/")) {
            let reason = "the hub answers with another commit, or without a name for the content";
            return Err(Fault::Final(reason.to_owned()));
        }
        let blob = self.kept.blob_path(etag);
        let part = blob.with_extension("part");
        // A whole part that was not yet taken cannot be continued.
        if std::fs::metadata(&part).is_ok_and(|part| part.len() >= metadata.size() as u64) {
            remove(&part)?;
        }
        let (repo, named) = (self.api.repo(self.repo.clone()), name.to_owned());
        let ask = move |tell: Tell| repo.download_with_progress(&named, Watch(tell));
        let (mut done, mut of) = (0, 0);
        let place = answered(self.patience, ask, |came| {
            match came {
                Came::Size(size) => (done, of) = (0, size),
                Came::Bytes(bytes) => done += bytes,
            }
            (self.progress)(Progress { done, of, doing: name });
        })?;
        let place = place.map_err(again)?;
        let length = std::fs::metadata(&place).map(|data| data.len()).unwrap_or_default();
        let right = length == metadata.size() as u64;
        if right && (etag.len() != 64 || sha256(&place).is_ok_and(|digest| digest == etag)) {
            return Ok(());
        }
        remove(&place)?;
        remove(&blob)?;
        Err(Fault::Again(format!(
            "{length} bytes came that are not the {} of the hub's file",
            metadata.size()
        )))
    }
}

/// What an answer has brought so far.
enum Came {
    /// The bytes that it will have.
    Size(u64),
    /// So many more.
    Bytes(u64),
}

enum Heard<T> {
    Came(Came),
    Over(T),
}

/// Where an answer in the making is told.
type Tell = Box<dyn Fn(Came) + Send>;

/// What `ask` gives, on a thread of its own: the client knows no time-outs, and takes some answers
/// for granted, a redirect's place for one. `hear` is told what comes meanwhile.
fn answered<T: Send + 'static>(
    patience: Duration,
    ask: impl FnOnce(Tell) -> T + Send + 'static,
    mut hear: impl FnMut(Came),
) -> Result<T, Fault> {
    let (tell, heard) = mpsc::channel();
    let came = tell.clone();
    let tells: Tell = Box::new(move |news| {
        if came.send(Heard::Came(news)).is_err() {
            tracing::debug!("a download is no longer waited for");
        }
    });
    std::thread::spawn(move || {
        let over = ask(tells);
        if tell.send(Heard::Over(over)).is_err() {
            tracing::debug!("a hub's answer is no longer waited for");
        }
    });
    loop {
        match heard.recv_timeout(patience) {
            Ok(Heard::Came(news)) => hear(news),
            Ok(Heard::Over(answer)) => return Ok(answer),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let seconds = patience.as_secs();
                return Err(Fault::Final(format!(
                    "nothing came from the hub for {seconds} s; the next call goes on where this one \
                     ended"
                )));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Fault::Final("the hub's answer is not one of a hub".to_owned()));
            }
        }
    }
}

enum Fault {
    /// Worth another try.
    Again(String),
    /// Not so.
    Final(String),
}

impl Fault {
    fn reason(self) -> String {
        match self {
            Self::Again(reason) | Self::Final(reason) => reason,
        }
    }
}

fn remove(path: &Path) -> Result<(), Fault> {
    std::fs::remove_file(path).map_err(|e| Fault::Final(format!("{}: {e}", path.display())))
}

fn sha256(path: &Path) -> std::io::Result<String> {
    digest(&Source::File(File::open(path)?, path.to_owned()))
}

/// Tells how far a download is.
struct Watch(Tell);

impl hf_hub::api::Progress for Watch {
    fn init(&mut self, size: usize, _name: &str) {
        (self.0)(Came::Size(size as u64));
    }

    fn update(&mut self, size: usize) {
        (self.0)(Came::Bytes(size as u64));
    }

    fn finish(&mut self) {}
}

fn check(repository: &str, revision: &str) -> Result<(), String> {
    if repository.matches('/').count() != 1 || !is_path(repository) {
        return Err("a repository is OWNER/NAME".to_owned());
    }
    if !is_path(revision) {
        return Err(format!("{revision:?} is no branch, tag or commit"));
    }
    Ok(())
}

/// Whether a name of a peer can be a path below a folder.
fn is_path(name: &str) -> bool {
    name.len() <= LONGEST_NAME && name.split('/').all(is_word)
}

fn is_word(part: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    !part.is_empty()
        && part.len() <= LONGEST_NAME
        && !part.starts_with('.')
        && part.bytes().all(plain)
}

/// The files of a folder and of those in it, as a repository names them.
fn names_under(folder: &Path) -> Vec<String> {
    let entries = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut paths = entries(folder);
    let inner = paths.iter().filter(|path| path.is_dir()).flat_map(|path| entries(path));
    paths.extend(inner.collect::<Vec<_>>());
    let own = paths.iter().filter(|path| path.is_file());
    let names = own.filter_map(|path| path.strip_prefix(folder).ok()?.to_str());
    names.map(str::to_owned).collect()
}
