//! A small archive: an AE that writes what it receives as Part 10 files into a folder, for the
//! demonstration and the tests. It neither scans nor indexes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::file_meta::file_meta;
use crate::dimse::acceptor::{Acceptor, Limits};
use crate::dimse::c_store::{StoreReply, StoreRequest, StoreService};
use crate::dimse::data::Fragments;
use crate::dimse::listen::{self, Listener};
use crate::dimse::negotiate::Offer;
use crate::dimse::{Status, Timers};
use crate::vocabulary::AeTitle;

/// A running archive; stopped with [`Archive::stop`], or when dropped.
pub struct Archive {
    address: SocketAddr,
    closing: CancellationToken,
    abandon: CancellationToken,
    running: JoinHandle<()>,
    files: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    written: Mutex<Vec<PathBuf>>,
}

impl Archive {
    /// Starts one on a free port of the loopback; takes all that the node knows.
    pub async fn start(ae_title: AeTitle, folder: &Path) -> io::Result<Self> {
        Self::start_with(Offer::everything(ae_title), folder).await
    }

    /// Starts one that takes only what `offer` says.
    pub async fn start_with(offer: Offer, folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let address = listener.local_addr()?;
        let files = Arc::new(Folder { path: folder.to_owned(), written: Mutex::default() });
        let acceptor = Arc::new(Acceptor {
            offer: offer.into(),
            timers: Timers::default(),
            limits: Limits::default(),
            service: Arc::clone(&files) as Arc<dyn StoreService>,
        });
        let (closing, abandon) = (CancellationToken::new(), CancellationToken::new());
        let running =
            tokio::spawn(listen::serve([listener], acceptor, closing.clone(), abandon.clone()));
        Ok(Self { address, closing, abandon, running, files })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The files written so far, in the order in which they came.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops taking associations and ends those that run.
    pub async fn stop(mut self) {
        self.closing.cancel();
        self.abandon.cancel();
        if let Err(fault) = (&mut self.running).await {
            warn!("the archive ended by a fault of this program: {fault}");
        }
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        self.abandon.cancel();
    }
}

impl Folder {
    fn keep(&self, request: &StoreRequest, mut data: Fragments) -> io::Result<PathBuf> {
        let meta = file_meta(request).map_err(io::Error::other)?;
        let mut part = tempfile::NamedTempFile::new_in(&self.path)?;
        part.write_all(&meta)?;
        while let Some(bytes) = data.next_bytes().map_err(io::Error::other)? {
            part.write_all(bytes)?;
        }
        part.as_file().sync_all()?;
        // A UID is digits and dots.
        let path = self.path.join(format!("{}.dcm", request.instance));
        part.persist(&path).map_err(|error| error.error)?;
        File::open(&self.path)?.sync_all()?;
        Ok(path)
    }
}

impl StoreService for Folder {
    fn store(&self, request: &StoreRequest, data: Fragments) -> StoreReply {
        match self.keep(request, data) {
            Ok(path) => {
                self.written.lock().unwrap_or_else(PoisonError::into_inner).push(path);
                Status::SUCCESS.into()
            }
            Err(error) => {
                warn!("object not archived: {error}");
                Status::OUT_OF_RESOURCES.into()
            }
        }
    }
}
