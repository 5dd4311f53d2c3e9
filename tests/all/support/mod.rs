//! Helpers of the tests: the node under test, its peers, and objects to send.
//!
//! A peer that is not installed is a failure that names the package which holds it.

pub(crate) mod browser;
pub(crate) mod certificates;
pub(crate) mod data_set;
pub(crate) mod dcmtk;
pub(crate) mod emulation;
pub(crate) mod gate;
pub(crate) mod http;
pub(crate) mod http_server;
pub(crate) mod hub;
pub(crate) mod job_store;
pub(crate) mod modality;
pub(crate) mod node;
pub(crate) mod objects;
pub(crate) mod orthanc;
pub(crate) mod pacs;
pub(crate) mod power;
pub(crate) mod process;
pub(crate) mod service_manager;
pub(crate) mod wait;

pub(crate) use node::{Node, Settings};
pub(crate) use objects::{Copy, fixtures};
pub(crate) use orthanc::Orthanc;
pub(crate) use wait::{wait_for, wait_until};
