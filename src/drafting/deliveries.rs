//! What goes where: what each destination receives anyway, and what routes add.

use crate::config::Receives;
use crate::spool::{NewDelivery, NewDeliveryObject, SpooledObject};
use crate::triage::Send;

/// A destination as drafting sees it: what it is to be sent.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// The destination's name.
    pub name: String,
    /// What it receives of every study.
    pub receives: Vec<Receives>,
}

/// The deliveries of a job, each once; of a job without a report its images alone.
pub(super) fn deliveries(
    recipients: &[Recipient],
    sends: &[Send],
    objects_of_job: &[SpooledObject],
    report: bool,
) -> Vec<NewDelivery> {
    let own = recipients.iter().map(|r| (r.name.as_str(), r.receives.as_slice()));
    let routed = sends.iter().map(|send| (send.destination.as_str(), send.objects.as_slice()));
    let mut all = Vec::new();
    for (destination, objects) in own.chain(routed) {
        let mut add = |object| {
            let delivery = NewDelivery { destination: destination.to_owned(), object };
            if !all.contains(&delivery) {
                all.push(delivery);
            }
        };
        let wants = |what| objects.contains(&what);
        if report && wants(Receives::Report) {
            add(NewDeliveryObject::Report);
        }
        // The selection points at the picture.
        if report && (wants(Receives::Capture) || wants(Receives::KeyObject)) {
            add(NewDeliveryObject::Capture);
        }
        if report && wants(Receives::KeyObject) {
            add(NewDeliveryObject::KeyObject);
        }
        if wants(Receives::Images) {
            let images = objects_of_job.iter().filter(|object| !object.own_object);
            images.for_each(|image| add(NewDeliveryObject::Image(image.instance.clone())));
        }
    }
    all
}
