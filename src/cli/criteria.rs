//! Which radiographs are drafted from, as the node judges a single one.

use crate::config::Config;
use crate::model::Model;
use crate::object::StoredObject;
use crate::radiograph::View;
use crate::radiograph::eligible::{check_age, eligibility};

/// What an object must be.
pub(super) struct Criteria {
    views: Vec<View>,
    /// In years.
    youngest: Option<u32>,
    assume_chest: bool,
}

impl Criteria {
    /// Those of a configuration and a model; `assume_chest` takes a radiograph of no named body
    /// part for a chest.
    pub(super) fn of(config: &Config, model: &Model, assume_chest: bool) -> Self {
        let views = View::listed(&config.model.views);
        Self { views, youngest: model.youngest(), assume_chest }
    }

    /// A radiograph of any view and patient.
    pub(super) fn any() -> Self {
        let views = vec![View::Pa, View::Ap, View::Lateral, View::Unknown];
        Self { views, youngest: None, assume_chest: true }
    }

    /// Why the node makes no draft of the object.
    pub(super) fn judge(&self, object: &StoredObject) -> Result<(), String> {
        let eligible = eligibility(object, self.assume_chest).map_err(|e| e.to_string())?;
        check_age(object, self.youngest).map_err(|e| e.to_string())?;
        if self.views.contains(&eligible.view) {
            Ok(())
        } else {
            Err("the view is not among model.views".to_owned())
        }
    }
}
