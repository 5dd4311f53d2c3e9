//! A model hub on the loopback: the paths, redirects, ranges and headers that clients rely on.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

/// What the hub holds and how it fails.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// Files by repository and name.
    pub(crate) files: BTreeMap<(String, String), PathBuf>,
    /// Names that the hub lists beside them.
    pub(crate) listed: Vec<String>,
    /// The commit of `main`.
    pub(crate) commit: String,
    /// Files whose transfer breaks off after so many bytes, and how often.
    pub(crate) cuts: BTreeMap<String, (usize, usize)>,
    /// Files whose transfer stands still in the middle.
    pub(crate) stuck: Vec<String>,
    /// Content that is sent in the place of a file's own.
    pub(crate) swapped: BTreeMap<String, Vec<u8>>,
    /// The name for a content in the place of the true one.
    pub(crate) etag: Option<String>,
    /// Whether redirects lead nowhere.
    pub(crate) lost: bool,
    /// File and range of each transfer.
    pub(crate) asked: Vec<(String, String)>,
}

/// A running hub.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    pub(crate) shelf: Arc<Mutex<Shelf>>,
    pub(crate) endpoint: String,
}

impl Hub {
    /// One that holds a folder as a repository.
    pub(crate) fn start(repository: &str, folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shelf = Shelf { commit: "c".repeat(40), ..Shelf::default() };
        let hub = Self { shelf: Arc::new(Mutex::new(shelf)), endpoint };
        hub.hold(repository, folder);
        let own = hub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hub = own.clone();
                std::thread::spawn(move || hub.answer(stream));
            }
        });
        hub
    }

    /// Holds one more folder as a repository.
    pub(crate) fn hold(&self, repository: &str, folder: &Path) {
        let mut folders = vec![folder.to_owned()];
        while let Some(inner) = folders.pop() {
            for entry in std::fs::read_dir(inner).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                    let key = (repository.to_owned(), name);
                    self.shelf.lock().unwrap().files.insert(key, path);
                }
            }
        }
    }

    /// The ranges in which a file's bytes were asked for, but for the first byte alone.
    pub(crate) fn ranges(&self, file: &str) -> Vec<String> {
        let shelf = self.shelf.lock().unwrap();
        let own = shelf.asked.iter().filter(|(name, range)| name == file && range != "0-0");
        own.map(|(_, range)| range.clone()).collect()
    }

    fn answer(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let path = lines[0].split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
        let range = lines.iter().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned)
        });
        let mut stream = reader.into_inner();
        let answer = self.page(&path, range.as_deref().unwrap_or("0-"));
        let stuck = self.shelf.lock().unwrap().stuck.iter().any(|file| path.ends_with(file));
        if stuck && path.starts_with("cdn/") && range.as_deref() != Some("0-0") {
            drop(stream.write_all(&answer[..answer.len() / 2]));
            drop(stream.read_to_end(&mut Vec::new()));
        }
        drop(stream.write_all(&answer));
        // Whatever the client still says is read, so that nothing of the answer is lost.
        drop(stream.shutdown(std::net::Shutdown::Write));
        drop(stream.read_to_end(&mut Vec::new()));
    }

    fn page(&self, path: &str, range: &str) -> Vec<u8> {
        let shelf = self.shelf.lock().unwrap();
        let parts = path.splitn(5, '/').collect::<Vec<_>>();
        match parts.as_slice() {
            ["api", "models", owner, name, revision] => {
                let repository = format!("{owner}/{name}");
                let of = shelf.files.keys().filter(|(own, _)| *own == repository);
                let names = of.map(|(_, name)| name).chain(&shelf.listed);
                let siblings = names.map(|name| serde_json::json!({"rfilename": name}));
                let siblings = siblings.collect::<Vec<_>>();
                let known =
                    ["main", &shelf.commit].contains(&revision.trim_start_matches("revision/"));
                if siblings.is_empty() || !known {
                    return head(404, &[], b"");
                }
                let body = serde_json::json!({"sha": shelf.commit, "siblings": siblings});
                head(200, &[("Content-Type", "application/json")], body.to_string().as_bytes())
            }
            [owner, name, "resolve", _, file] => {
                let key = (format!("{owner}/{name}"), (*file).to_owned());
                let Some(place) = shelf.files.get(&key) else { return head(404, &[], b"") };
                let bytes = std::fs::read(place).unwrap();
                let commit = ("X-Repo-Commit", shelf.commit.clone());
                let digest = shelf.etag.clone().unwrap_or_else(|| hexadecimal(&bytes));
                if Path::new(file).extension().is_some_and(|e| e == "pth" || e == "bin") {
                    // Large files lie elsewhere.
                    let place = format!("{}/cdn/{owner}/{name}/{file}", self.endpoint);
                    let linked = ("X-Linked-Etag", format!("\"{digest}\""));
                    let mut headers = vec![commit, linked];
                    if !shelf.lost {
                        headers.push(("Location", place));
                    }
                    let headers = headers.iter().map(|(k, v)| (*k, v.as_str()));
                    return head(302, &headers.collect::<Vec<_>>(), b"");
                }
                let etag = ("ETag", format!("\"{}\"", digest.chars().take(40).collect::<String>()));
                drop(shelf);
                self.transfer(file, &bytes, range, &[commit, etag])
            }
            ["cdn", owner, name, ..] => {
                let file = path.splitn(4, '/').nth(3).unwrap();
                let key = (format!("{owner}/{name}"), file.to_owned());
                let bytes = std::fs::read(&shelf.files[&key]).unwrap();
                let bytes = shelf.swapped.get(file).cloned().unwrap_or(bytes);
                drop(shelf);
                self.transfer(file, &bytes, range, &[])
            }
            _ => head(404, &[], b""),
        }
    }

    fn transfer(&self, file: &str, bytes: &[u8], range: &str, more: &[(&str, String)]) -> Vec<u8> {
        let mut shelf = self.shelf.lock().unwrap();
        shelf.asked.push((file.to_owned(), range.to_owned()));
        let (first, last) = range.split_once('-').unwrap();
        let first = first.parse::<usize>().unwrap();
        let last = last.parse::<usize>().map_or(bytes.len(), |last| (last + 1).min(bytes.len()));
        if first >= last {
            return head(416, &[], b"");
        }
        let span = format!("bytes {first}-{}/{}", last - 1, bytes.len());
        let mut headers = vec![("Content-Range", span.as_str())];
        headers.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
        let mut answer = head(206, &headers, &bytes[first..last]);
        if let Some((at, times)) = shelf.cuts.get_mut(file).filter(|(_, times)| *times > 0)
            && range != "0-0"
        {
            *times -= 1;
            let kept = answer.len() - (last - first) + *at;
            answer.truncate(kept.min(answer.len() - 1));
        }
        answer
    }
}

fn head(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    let headers = headers.collect::<Vec<_>>().concat();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} -\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes).into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}
