//! The command line: a file a subcommand.
//!
//! Comes in: arguments. Goes out: results on stdout, everything else on stderr, an exit code
//! (0 done, 1 failed, 2 usage). May use: every module.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod asking;
mod audit;
mod bench;
mod chat;
mod config;
mod criteria;
mod dataset;
mod decode;
mod demo;
mod draft;
mod echo;
mod evaluate;
mod findings;
mod model;
mod number;
mod outputs;
mod pull;
mod queue;
mod radiograph;
mod render;
mod route;
mod send;
mod serve;
mod service_manager;
mod train;
mod user;

/// A DICOM node that drafts chest-radiograph reports. Every draft is unverified.
#[derive(Debug, Parser)]
#[command(name = "thorascribe", version, about)]
struct Arguments {
    /// The configuration file (else THORASCRIBE_CONFIG, the XDG folder, /etc/thorascribe).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node (what no subcommand does too).
    Serve(serve::Arguments),
    /// Show the whole way on the fixture radiographs.
    Demo(demo::Arguments),
    /// Send objects to a node by C-STORE.
    Send(send::Arguments),
    /// Ask a node whether it is there, by C-ECHO.
    Echo(echo::Arguments),
    /// Draft a report for DICOM, PNG or JPEG files.
    Draft(draft::Arguments),
    /// Ask questions about a radiograph, line by line.
    Chat(chat::Arguments),
    /// Say what a report's text finds, denies and doubts.
    Findings(findings::Arguments),
    /// Measure findings, models and texts against what is held for true.
    Evaluate(evaluate::Arguments),
    /// Show what the node makes of an object.
    Radiograph(radiograph::Arguments),
    /// Try rules and routes on a file.
    Route(route::Arguments),
    /// Look at the jobs and act on them.
    Queue(queue::Arguments),
    /// Import, check and describe models.
    Model(model::Arguments),
    /// Make training pairs of images and summaries out of an archive of reports.
    Dataset(dataset::Arguments),
    /// Train an image encoder, a language model, or the projection between them.
    Train(train::Arguments),
    /// Make lines for the users of the configuration.
    User(user::Arguments),
    /// Check and show the configuration.
    Config(config::Arguments),
    /// Follow the chain of the audit log.
    Audit(audit::Arguments),
    /// Decode the object on standard input, for the node.
    #[command(hide = true)]
    Decode(decode::Arguments),
}

/// What a subcommand ends with.
pub(crate) type Outcome = anyhow::Result<ExitCode>;

/// Runs the command line of this process and gives its exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let file = arguments.config.as_deref();
    let outcome = match arguments.command {
        None => serve::run(&serve::Arguments::default(), file),
        Some(Command::Serve(a)) => serve::run(&a, file),
        Some(Command::Demo(a)) => demo::run(&a, file),
        Some(Command::Send(a)) => send::run(&a, file),
        Some(Command::Echo(a)) => echo::run(&a, file),
        Some(Command::Draft(a)) => draft::run(&a, file),
        Some(Command::Chat(a)) => chat::run(&a, file),
        Some(Command::Findings(a)) => findings::run(&a),
        Some(Command::Evaluate(a)) => evaluate::run(&a),
        Some(Command::Radiograph(a)) => radiograph::run(&a, file),
        Some(Command::Route(a)) => route::run(&a, file),
        Some(Command::Queue(a)) => queue::run(&a, file),
        Some(Command::Model(a)) => model::run(&a, file),
        Some(Command::Dataset(a)) => dataset::run(&a),
        Some(Command::Train(a)) => train::run(&a, file),
        Some(Command::User(a)) => user::run(&a),
        Some(Command::Config(a)) => config::run(&a, file),
        Some(Command::Audit(a)) => audit::run(&a, file),
        Some(Command::Decode(a)) => decode::run(&a),
    };
    outcome.unwrap_or_else(|error| render::failure(&error))
}
