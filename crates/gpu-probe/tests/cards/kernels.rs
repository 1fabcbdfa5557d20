//! What can be said of every card that runs kernels, and of every card that does not.

use gpu_probe::{DeviceSpan, Error, KernelQueue, KernelSetup};

use crate::conformance::{Card, pattern};

const LANES: usize = 3;
const SCRATCH_BYTES: u64 = 100_000;
const STAGING_BYTES: usize = 70_000;

/// Adds 1 to each of `count` words.
const ADD_ONE: &str = "\
.version 6.0
.target sm_50
.address_size 64
.visible .entry add_one(.param .u64 add_one_at, .param .u32 add_one_count)
{
    .reg .pred %p<2>;
    .reg .b32 %r<7>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [add_one_at];
    ld.param.u32 %r1, [add_one_count];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p1, %r5, %r1;
    @%p1 bra DONE;
    mul.wide.u32 %rd2, %r5, 4;
    add.s64 %rd3, %rd1, %rd2;
    ld.global.u32 %r6, [%rd3];
    add.u32 %r6, %r6, 1;
    st.global.u32 [%rd3], %r6;
DONE:
    ret;
}
";

pub(crate) const SETUP: KernelSetup<'static> =
    KernelSetup { ptx: ADD_ONE, lanes: LANES, scratch_bytes: SCRATCH_BYTES, staging_bytes: STAGING_BYTES };

pub(crate) fn conformance(card: &Card) {
    let before = card.memory.memory(card.device).unwrap();
    let mut queue = match card.memory.kernels(card.device, &SETUP) {
        Ok(queue) => queue,
        Err(error @ Error::Unsupported { .. }) => {
            let text = error.to_string();
            assert!(text.contains("run kernels") && text.contains("the processor does the same"), "{text}");
            println!("no kernels: skipped ({text})");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    lanes_have_scratch_of_their_own(&*queue);
    copies_go_round_on_every_lane_and_from_any_thread(&mut *queue);
    copies_go_to_and_from_allocations(card, &mut *queue);
    what_does_not_exist_is_refused(&mut *queue);
    kernels_run_in_the_order_of_their_lane(&mut *queue);
    drop(queue);
    a_queue_that_cannot_be_made_takes_nothing(card);
    if card.ours_alone {
        assert_eq!(card.memory.memory(card.device).unwrap(), before);
    }
}

fn lanes_have_scratch_of_their_own(queue: &dyn KernelQueue) {
    assert_eq!((queue.lanes(), queue.staging_bytes()), (LANES, STAGING_BYTES));
    let mut spans: Vec<DeviceSpan> = (0..LANES).map(|lane| queue.scratch(lane)).collect();
    assert!(spans.iter().all(|span| span.bytes == SCRATCH_BYTES && span.address % 256 == 0));
    spans.sort_by_key(|span| span.address);
    assert!(spans.windows(2).all(|pair| pair[0].address + SCRATCH_BYTES <= pair[1].address), "{spans:?}");
}

fn copies_go_round_on_every_lane_and_from_any_thread(queue: &mut dyn KernelQueue) {
    queue.join().unwrap();
    for lane in 0..LANES {
        queue.staging(lane).unwrap().copy_from_slice(&pattern(lane as u64, STAGING_BYTES));
        let to = queue.scratch(lane).address;
        queue.send(lane, 0, to, STAGING_BYTES).unwrap();
        queue.staging(lane).unwrap().fill(0);
    }
    std::thread::scope(|scope| {
        let there = scope.spawn(move || {
            for lane in 0..LANES {
                let from = queue.scratch(lane).address + 1000;
                queue.fetch(lane, from, 7, STAGING_BYTES - 1000).unwrap();
                queue.fetch(lane, from, 7, 0).unwrap();
            }
            for lane in 0..LANES {
                let out = queue.staging(lane).unwrap();
                assert_eq!(out.len(), STAGING_BYTES);
                assert!(out[7..STAGING_BYTES - 993] == pattern(lane as u64, STAGING_BYTES)[1000..], "{lane}");
                assert_eq!(out[..7], [0; 7]);
            }
        });
        there.join().unwrap();
    });
}

fn copies_go_to_and_from_allocations(card: &Card, queue: &mut dyn KernelQueue) {
    let held = card.memory.allocate(card.device, 5000).unwrap();
    card.memory.write(&held, 0, &pattern(8, 5000)).unwrap();
    queue.join().unwrap();
    queue.fetch(1, held.address(), 0, 5000).unwrap();
    assert!(queue.staging(1).unwrap()[..5000] == pattern(8, 5000));
    queue.staging(1).unwrap()[..5000].copy_from_slice(&pattern(9, 5000));
    queue.send(1, 100, held.address() + 100, 4900).unwrap();
    queue.staging(1).unwrap();
    let mut out = vec![0; 4900];
    card.memory.read(&held, 100, &mut out).unwrap();
    assert!(out == pattern(9, 5000)[100..]);
    card.memory.free(held).unwrap();
}

fn what_does_not_exist_is_refused(queue: &mut dyn KernelQueue) {
    let to = queue.scratch(0).address;
    for lane in [LANES, usize::MAX] {
        assert_eq!(queue.scratch(lane), DeviceSpan { address: 0, bytes: 0 });
        for refused in [
            queue.staging(lane).map(|_| ()).unwrap_err(),
            queue.fetch(lane, to, 0, 1).unwrap_err(),
            queue.send(lane, 0, to, 1).unwrap_err(),
            queue.launch(lane, "add_one", 1, 1, &[to, 0]).unwrap_err(),
        ] {
            assert!(
                matches!(refused, Error::Driver { .. }) && refused.to_string().contains("lane"),
                "{refused}"
            );
        }
    }
    for (at, bytes) in [(STAGING_BYTES, 1), (0, STAGING_BYTES + 1), (usize::MAX, 2), (1, usize::MAX)] {
        assert!(matches!(queue.fetch(0, to, at, bytes), Err(Error::OutOfRange { .. })), "{at} {bytes}");
        assert!(matches!(queue.send(0, at, to, bytes), Err(Error::OutOfRange { .. })), "{at} {bytes}");
    }
    for kernel in ["subtract_one", "", "add_one\0"] {
        let refused = queue.launch(0, kernel, 1, 1, &[]).unwrap_err();
        assert!(matches!(refused, Error::Driver { .. }), "{kernel:?}: {refused}");
    }
    queue.staging(0).unwrap();
}

fn kernels_run_in_the_order_of_their_lane(queue: &mut dyn KernelQueue) {
    let count = 1000_u32;
    let words = 4 * count as usize;
    for lane in 0..LANES {
        let at = queue.scratch(lane).address;
        queue.staging(lane).unwrap()[..words].fill(lane as u8);
        queue.send(lane, 0, at, words).unwrap();
        // The upper half is cut off, because the parameter has four bytes.
        let arguments = [at, u64::from(count) | 7 << 32];
        match queue.launch(lane, "add_one", 8, 128, &arguments) {
            Ok(()) => {}
            Err(error @ Error::Driver { .. }) => {
                println!("kernels cannot be launched: skipped ({error})");
                return;
            }
            Err(error) => panic!("{error}"),
        }
        queue.launch(lane, "add_one", 8, 128, &[at, 500]).unwrap();
        queue.fetch(lane, at, 0, words).unwrap();
    }
    for lane in 0..LANES {
        let start = u32::from_le_bytes([lane as u8; 4]);
        let out: Vec<u32> = queue.staging(lane).unwrap()[..words]
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        assert!(out[..500].iter().all(|&word| word == start + 2), "{lane}");
        assert!(out[500..].iter().all(|&word| word == start + 1), "{lane}");
    }
    println!("kernels were launched");
}

fn a_queue_that_cannot_be_made_takes_nothing(card: &Card) {
    let before = card.memory.memory(card.device).unwrap();
    for ptx in [
        "",
        "this is not PTX",
        "a zero \0 within",
        ".version 99.0\n.target sm_50\n.visible .entry add_one() { ret; }",
        ".entry x() { nonsense }",
    ] {
        let refused = card.memory.kernels(card.device, &KernelSetup { ptx, ..SETUP }).unwrap_err();
        let text = refused.to_string();
        assert!(
            matches!(refused, Error::Unsupported { .. }) && text.contains("run kernels"),
            "{ptx:?}: {text}"
        );
        assert!(text.len() < 6000, "{} bytes", text.len());
    }
    let too_much = KernelSetup { scratch_bytes: before.total_bytes / 2, ..SETUP };
    let refused = card.memory.kernels(card.device, &too_much).unwrap_err();
    assert!(matches!(refused, Error::OutOfMemory(_)), "{refused}");
    for impossible in [
        KernelSetup { lanes: 0, ..SETUP },
        KernelSetup { lanes: usize::MAX, ..SETUP },
        KernelSetup { staging_bytes: usize::MAX, ..SETUP },
        KernelSetup { scratch_bytes: u64::MAX, ..SETUP },
    ] {
        assert!(card.memory.kernels(card.device, &impossible).is_err(), "{impossible:?}");
    }
    // Nothing to copy through is fine for a program that only computes.
    let bare = KernelSetup { scratch_bytes: 0, staging_bytes: 0, lanes: 1, ..SETUP };
    let mut queue = card.memory.kernels(card.device, &bare).unwrap();
    assert_eq!((queue.scratch(0).bytes, queue.staging(0).unwrap().len()), (0, 0));
    drop(queue);
    if card.ours_alone {
        assert_eq!(card.memory.memory(card.device).unwrap(), before);
    }
}
