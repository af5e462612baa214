//! `vigia openapi`: the description of the API.

use crate::exit::{Answer, Outcome};
use crate::table::print;

/// Prints it.
pub fn run() -> Outcome {
    print(&vigia_store::openapi_yaml())?;
    Ok(Answer::Yes)
}
