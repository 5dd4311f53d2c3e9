//! What goes where: what each destination receives anyway, and what routes add.

use crate::config::Receives;
use crate::spool::{DraftLease, NewDelivery, NewDeliveryObject};
use crate::triage::Send;

/// A destination as drafting sees it: what it is to be sent.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// The destination's name.
    pub name: String,
    /// It receives the report.
    pub report: bool,
    /// It receives the study's images.
    pub images: bool,
}

/// The deliveries of a job, each once; of a job without a report its images alone.
pub(super) fn deliveries(
    recipients: &[Recipient],
    sends: &[Send],
    lease: &DraftLease,
    report: bool,
) -> Vec<NewDelivery> {
    let own = recipients.iter().map(|r| (r.name.as_str(), r.report, r.images));
    let routed = sends.iter().map(|send| {
        let sends = |what| send.objects.contains(&what);
        (send.destination.as_str(), sends(Receives::Report), sends(Receives::Images))
    });
    let mut all = Vec::new();
    for (destination, wants_report, wants_images) in own.chain(routed) {
        let mut add = |object| {
            let delivery = NewDelivery { destination: destination.to_owned(), object };
            if !all.contains(&delivery) {
                all.push(delivery);
            }
        };
        if wants_report && report {
            add(NewDeliveryObject::Report);
        }
        if wants_images {
            let images = lease.objects.iter().filter(|object| !object.own_object);
            images.for_each(|image| add(NewDeliveryObject::Image(image.instance.clone())));
        }
    }
    all
}
