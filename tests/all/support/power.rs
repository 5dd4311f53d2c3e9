//! A power cut: of the spool, only what was forced to the disk is left. See `shim.c`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::objects::root;
use super::process;

/// What a cut leaves of what was written and not forced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// Nothing.
    All,
    /// Of each file and each folder either nothing or everything, by this seed.
    Some(u64),
}

/// A spool on a disk that can lose power.
#[derive(Debug)]
pub(crate) struct Power {
    folder: TempDir,
    control: File,
}

/// The compiled shim.
fn shim() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let compiler = process::find("cc", "gcc", |_| true);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shim.so");
        let source = root().join("tests/all/support/shim.c");
        let mut compile = Command::new(compiler);
        compile.args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&path).arg(source);
        process::succeed(&mut compile);
        (folder, path)
    });
    path
}

impl Power {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("control"), [0; 16]).unwrap();
        let path = folder.path().join("control");
        let control = File::options().write(true).open(path).unwrap();
        let power = Self { folder, control };
        power.wipe();
        power
    }

    /// Where the node keeps its spool.
    pub(crate) fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn wipe(&self) {
        drop(fs::remove_dir_all(self.disk()));
        for part in ["files", "held", "folders"] {
            fs::create_dir_all(self.disk().join(part)).unwrap();
        }
    }

    /// What the node is started with.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        vec![
            ("LD_PRELOAD", text(shim())),
            ("SHIM_ROOT", text(&self.spool())),
            ("SHIM_DISK", text(&self.disk())),
            ("SHIM_CONTROL", text(&self.folder.path().join("control"))),
            ("THORASCRIBE_SPOOL__PATH", text(&self.spool())),
        ]
    }

    /// Moves the clock of the running node, in milliseconds from the true time.
    pub(crate) fn set_clock(&self, offset: i64) {
        self.control.write_all_at(&offset.to_ne_bytes(), 0).unwrap();
    }

    /// The error that forcing to the disk gives from now on; 0: none.
    pub(crate) fn set_sync_error(&self, errno: i32) {
        self.control.write_all_at(&i64::from(errno).to_ne_bytes(), 8).unwrap();
    }

    /// Cuts the power of a node that was killed: its spool is what the disk has of it.
    pub(crate) fn cut(&self, cut: Cut) {
        let (before, after) = (self.spool(), self.folder.path().join("after"));
        fs::create_dir(&after).unwrap();
        let mut lottery = Lottery(cut);
        self.restore(Path::new(""), &after, &mut lottery);
        fs::rename(&before, self.folder.path().join("before")).unwrap();
        fs::rename(&after, &before).unwrap();
        fs::remove_dir_all(self.folder.path().join("before")).unwrap();
        // What is there now was read from the disk.
        self.wipe();
        self.adopt(Path::new(""));
    }

    /// Makes a folder as the disk has it.
    fn restore(&self, below: &Path, to: &Path, lottery: &mut Lottery) {
        let synced = self.synced_names(below);
        let names = match (lottery.draw(), current_names(&self.spool().join(below))) {
            (true, Some(current)) => current,
            _ => synced,
        };
        for (name, (inode, is_folder)) in names {
            let place = to.join(&name);
            if is_folder {
                fs::create_dir(&place).unwrap();
                self.restore(&below.join(&name), &place, lottery);
                continue;
            }
            let synced = fs::read(self.disk().join("files").join(inode.to_string()));
            // A file that lost its name is still held under its number.
            let held = self.disk().join("held").join(inode.to_string());
            let current = || fs::read(self.spool().join(below).join(&name)).or(fs::read(held));
            let bytes = if lottery.draw() { current().or(synced) } else { synced };
            fs::write(&place, bytes.unwrap_or_default()).unwrap();
        }
    }

    fn synced_names(&self, below: &Path) -> BTreeMap<String, (u64, bool)> {
        let table = self.disk().join("folders").join(table_of(below));
        let text = fs::read_to_string(table).unwrap_or_default();
        let rows = text.lines().map(|line| {
            let mut cells = line.splitn(3, ' ');
            let mut cell = || cells.next().unwrap().to_owned();
            let (inode, kind, name) = (cell(), cell(), cell());
            (name, (inode.parse().unwrap(), kind == "folder"))
        });
        rows.collect()
    }

    /// Notes that a folder and all that it holds are on the disk.
    fn adopt(&self, below: &Path) {
        let names = current_names(&self.spool().join(below)).unwrap();
        let mut table = String::new();
        for (name, (inode, is_folder)) in names {
            let kind = if is_folder { "folder" } else { "file" };
            table.extend([&inode.to_string(), " ", kind, " ", &name, "\n"]);
            let path = self.spool().join(below).join(&name);
            if is_folder {
                self.adopt(&below.join(&name));
            } else {
                fs::copy(&path, self.disk().join("files").join(inode.to_string())).unwrap();
                fs::hard_link(&path, self.disk().join("held").join(inode.to_string())).unwrap();
            }
        }
        fs::write(self.disk().join("folders").join(table_of(below)), table).unwrap();
    }
}

/// The name of a folder's table.
fn table_of(below: &Path) -> String {
    format!("/{}", below.display()).replace('/', ":")
}

/// Inode and kind of what a folder holds; none where there is no such folder.
fn current_names(folder: &Path) -> Option<BTreeMap<String, (u64, bool)>> {
    let entries = fs::read_dir(folder).ok()?.map(|entry| {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        (entry.file_name().into_string().unwrap(), (meta.ino(), meta.is_dir()))
    });
    Some(entries.collect())
}

/// Whether what was not forced is there all the same.
struct Lottery(Cut);

impl Lottery {
    fn draw(&mut self) -> bool {
        let Cut::Some(seed) = &mut self.0 else { return false };
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *seed >> 63 == 1
    }
}
