//! The parent's side: starts the child, reads its answer, and ends it when it takes too long.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};

use rustix::fs::MemfdFlags;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use super::super::RadiographError;
use super::super::grey::Rendered;
use super::{DecodeLimits, answer};

/// Bytes of the child's complaint that are told.
const EXCERPT: u64 = 300;

/// Renders a file in a process of its own.
pub(super) fn develop(
    program: &Path,
    file: &Path,
    window: Option<(f64, f64)>,
    limits: &DecodeLimits,
) -> Result<Rendered, RadiographError> {
    let unstarted = |error: io::Error| RadiographError::Unstarted(error.to_string());
    let object = File::open(file)
        .map_err(|e| RadiographError::Unreadable(format!("{}: {e}", file.display())))?;
    let mut complaint = File::from(
        rustix::fs::memfd_create("thorascribe-decode", MemfdFlags::CLOEXEC)
            .map_err(|e| unstarted(e.into()))?,
    );
    let mut command = order(program, window, limits);
    command.stdin(object).stdout(Stdio::piped());
    command.stderr(complaint.try_clone().map_err(unstarted)?);
    let mut child = command.spawn().map_err(unstarted)?;
    let (read, late) = answer_of(&mut child, limits)?;
    let status = child.wait().map_err(unstarted)?;
    if late {
        let seconds = limits.time.as_secs_f32();
        return Err(RadiographError::Killed(format!("it took longer than {seconds} s")));
    }
    match read {
        Ok(Some(result)) if status.success() => result,
        _ => Err(RadiographError::Killed(end(status, &mut complaint))),
    }
}

/// The call of this program that decodes one image; nothing of the environment goes with it.
fn order(program: &Path, window: Option<(f64, f64)>, limits: &DecodeLimits) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir("/");
    // Threads and their arenas take address space, which is what is limited.
    command.env("RAYON_NUM_THREADS", "2").env("MALLOC_ARENA_MAX", "2");
    command.arg("decode");
    for (name, value) in [
        ("--side", u64::from(limits.side)),
        ("--pixels", limits.pixels),
        ("--memory", limits.memory),
        ("--seconds", limits.time.as_secs().saturating_add(1)),
    ] {
        command.arg(format!("{name}={value}"));
    }
    if let Some((center, width)) = window {
        command.arg(format!("--center={center}")).arg(format!("--width={width}"));
    }
    command
}

type Answer = io::Result<Option<Result<Rendered, RadiographError>>>;

/// The child's answer, and whether it was ended because it took too long.
fn answer_of(child: &mut Child, limits: &DecodeLimits) -> Result<(Answer, bool), RadiographError> {
    let unstarted = |error: io::Error| RadiographError::Unstarted(error.to_string());
    let Some(stdout) = child.stdout.take() else {
        return Err(RadiographError::Unstarted("no pipe".to_owned()));
    };
    let process = match pidfd_open(Pid::from_child(child), PidfdFlags::empty()) {
        Ok(process) => process,
        Err(error) => {
            drop(child.kill());
            drop(child.wait());
            return Err(unstarted(error.into()));
        }
    };
    let late = AtomicBool::new(false);
    let read = std::thread::scope(|scope| {
        let (done, ended) = channel::<()>();
        let (process, late) = (&process, &late);
        scope.spawn(move || {
            if ended.recv_timeout(limits.time) == Err(RecvTimeoutError::Timeout) {
                late.store(true, Ordering::SeqCst);
                if let Err(error) = pidfd_send_signal(process, Signal::KILL) {
                    tracing::debug!(%error, "a decoder ended at the moment it was to be ended");
                }
            }
        });
        let read = answer::read(stdout, limits);
        // A child that has said all may still not end.
        // Not collected yet: its number stays its own as long as the watch may end it.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        if let Err(error) = waitid(WaitId::PidFd(process.as_fd()), options) {
            tracing::warn!(%error, "a decoder cannot be waited for");
        }
        drop(done);
        read
    });
    Ok((read, late.load(Ordering::SeqCst)))
}

/// How the child ended, in words.
fn end(status: ExitStatus, complaint: &mut File) -> String {
    let how = match (status.signal(), status.code()) {
        (Some(signal), _) => format!("it was ended by signal {signal}"),
        (None, Some(0)) => "its answer was not whole".to_owned(),
        (None, code) => format!("it ended with {}", code.unwrap_or_default()),
    };
    let mut text = Vec::new();
    let read = complaint
        .seek(SeekFrom::Start(0))
        .and_then(|_| complaint.take(EXCERPT).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    match (read, text.trim().lines().next()) {
        (Ok(_), Some(line)) if !line.is_empty() => format!("{how}: {line}"),
        _ => how,
    }
}
