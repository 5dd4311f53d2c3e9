//! What may happen to a spool: the actions that the model test puts in any order.

use proptest::prelude::*;
use thorascribe::vocabulary::Priority;

/// How many studies the actions are about.
const STUDIES: u32 = 2;

#[derive(Debug, Clone)]
pub(super) enum Action {
    Store { study: u32, instance: u32, content: u8, own: bool },
    Wait,
    Draft,
    EndDraft(usize, DraftEnd),
    Deliver(usize),
    EndDelivery(usize, DeliveryEnd),
    Crash,
    Retry(u32),
    Drop(u32),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum DraftEnd {
    Drafted(Priority, bool),
    Skipped,
    Unchanged,
    Retry,
    Dead,
    Dropped,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum DeliveryEnd {
    Sent,
    Retry,
    Dead,
    Dropped,
}

pub(super) fn action() -> impl Strategy<Value = Action> {
    let study = 0..STUDIES;
    let store = (0..STUDIES, 0..3_u32, 0..2_u8, prop::bool::weighted(0.1)).prop_map(
        |(study, instance, content, own)| Action::Store { study, instance, content, own },
    );
    let priority =
        prop_oneof![Just(Priority::Routine), Just(Priority::Urgent), Just(Priority::Stat)];
    let draft_end = prop_oneof![
        6 => (priority, any::<bool>()).prop_map(|(p, images)| DraftEnd::Drafted(p, images)),
        1 => Just(DraftEnd::Skipped),
        1 => Just(DraftEnd::Unchanged),
        1 => Just(DraftEnd::Retry),
        1 => Just(DraftEnd::Dead),
        1 => Just(DraftEnd::Dropped),
    ];
    let delivery_end = prop_oneof![
        4 => Just(DeliveryEnd::Sent),
        2 => Just(DeliveryEnd::Retry),
        1 => Just(DeliveryEnd::Dead),
        1 => Just(DeliveryEnd::Dropped),
    ];
    prop_oneof![
        6 => store,
        5 => Just(Action::Wait),
        6 => Just(Action::Draft),
        6 => (any::<usize>(), draft_end).prop_map(|(n, end)| Action::EndDraft(n, end)),
        6 => (0..super::model::DESTINATIONS.len()).prop_map(Action::Deliver),
        6 => (any::<usize>(), delivery_end).prop_map(|(n, end)| Action::EndDelivery(n, end)),
        2 => Just(Action::Crash),
        1 => study.clone().prop_map(Action::Retry),
        1 => study.prop_map(Action::Drop),
    ]
}
