//! The ledger.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::payload::Json;
use vigia_kit::clock::now;

use crate::api::allowed::{Allowed, ToRead};
use crate::api::problem::Problem;
use crate::api::{Part, Shared};
use crate::ledger::{Ledger as Sheet, ledger};

/// Operations on the ledger.
#[derive(Debug)]
pub struct Ledger;

#[OpenApi(tag = "Part::Accounts")]
impl Ledger {
    /// What was accepted, and what became of it.
    #[oai(path = "/ledger", method = "get", operation_id = "getLedger")]
    async fn get(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
    ) -> Result<Json<Sheet>, Problem> {
        let instance = shared.store.instance();
        shared.look(move |state| Json(ledger(state, instance, now()))).await
    }
}
