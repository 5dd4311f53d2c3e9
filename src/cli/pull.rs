//! `thorascribe model pull`: a checkpoint from a hub, made into a model directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::Outcome;
use super::model::{BYTES, Into, run_import, with_bar};
use crate::model::checkpoint::hub::Hub;
use crate::model::checkpoint::import::ImportOptions;
use crate::model::checkpoint::{wanted, wanted_language};

/// What may be asked of `model pull`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The repository, OWNER/NAME.
    repository: String,
    #[command(flatten)]
    into: Into,
    /// A branch, a tag or a commit.
    #[arg(long, value_name = "R", default_value = "main")]
    revision: String,
    /// The language model: a folder, or a repository of its own, OWNER/NAME or OWNER/NAME@REVISION;
    /// else vicuna/ in the repository.
    #[arg(long, value_name = "DIR|REPO")]
    language_model: Option<String>,
    /// The hub's address; else that of HF_ENDPOINT, else the public one.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Where downloads are kept; else HF_HUB_CACHE, HF_HOME/hub, or ~/.cache/huggingface/hub.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Seconds that the hub may be silent.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Take what the cache holds, and ask no hub.
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let hub = arguments.hub()?;
    let fetched = with_bar(BYTES, |progress| {
        hub.fetch(&arguments.repository, &arguments.revision, wanted, progress)
    })?;
    let mut origin = format!("from {} at {}", arguments.repository, fetched.commit);
    let language_model = match &arguments.language_model {
        Some(language) if !Path::new(language).is_dir() => {
            let (repository, revision) = language.split_once('@').unwrap_or((language, "main"));
            let language = with_bar(BYTES, |progress| {
                hub.fetch(repository, revision, wanted_language, progress)
            })?;
            origin = format!("{origin}, {repository} at {}", language.commit);
            Some(language.folder)
        }
        Some(folder) => Some(PathBuf::from(folder)),
        None => None,
    };
    let origin = Some(origin);
    let options = ImportOptions { language_model, origin, ..arguments.into.options() };
    run_import(&fetched.folder, &arguments.into.out, &options)
}

impl Arguments {
    fn hub(&self) -> anyhow::Result<Hub> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let folder = |name| variable(name).map(PathBuf::from);
        let cache = self
            .cache
            .clone()
            .or_else(|| folder("HF_HUB_CACHE"))
            .or_else(|| folder("HF_HOME").map(|home| home.join("hub")))
            .or_else(|| folder("HOME").map(|home| home.join(".cache/huggingface/hub")))
            .context("no folder to keep downloads in; name one with --cache")?;
        Ok(Hub {
            endpoint: self.endpoint.clone().or_else(|| variable("HF_ENDPOINT")),
            cache: std::path::absolute(cache)?,
            token: variable("HF_TOKEN"),
            offline: self.offline || variable("HF_HUB_OFFLINE").is_some_and(|value| value != "0"),
            patience: Duration::from_secs(self.timeout),
        })
    }
}
