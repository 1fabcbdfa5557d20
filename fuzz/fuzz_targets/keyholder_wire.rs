//! What goes over a keyholder's socket: requests that a server reads, and replies that a client reads.
#![no_main]

use encrypted_unconscious::keyholder::wire::{Reply, Request, check_greeting};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = check_greeting(bytes);
    if let Ok(request) = Request::from_bytes(bytes) {
        let _ = format!("{request:?}");
    }
    if let Ok(reply) = Reply::from_bytes(bytes) {
        let message = reply.to_message();
        let again = Reply::from_bytes(&message[4..]).expect("what was read can be said and read again");
        assert_eq!(format!("{again:?}"), format!("{reply:?}"));
    }
});
