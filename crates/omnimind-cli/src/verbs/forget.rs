//! `forget`: removes a memory from the catalogue; its objects stay until `gc`.

use omnimind_memory::Error;
use serde_json::json;

use crate::args::Named;
use crate::failure::Failure;
use crate::record::short;
use crate::session::{Session, resolve};

pub(super) fn run(session: &Session, args: &Named) -> Result<(), Failure> {
    let consolidator = session.existing()?;
    let hash = resolve(&consolidator, &args.hash)?;
    consolidator.store().forget(&hash).map_err(Error::Store)?;
    session.output.result(&json!({"content_hash": hash, "forgotten": true}), |out| {
        writeln!(out, "{} is forgotten; `omnimind gc` frees its space", short(&hash))
    })
}
