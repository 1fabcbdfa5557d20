//! placeholder
use crate::{Consolidator, Result, consolidate::{Plan, Stored}};
use memory_store::Batch;
impl Consolidator {
    pub(crate) fn seal(&self, _plan: &Plan<'_>, _batch: &Batch) -> Result<Stored> { unimplemented!() }
}
