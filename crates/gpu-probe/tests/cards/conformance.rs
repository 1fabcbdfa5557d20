//! What every [`DeviceMemory`] must do. The simulated card always runs; the real one where there is one.

use gpu_probe::{Allocation, Allocator, DeviceMemory, Error, NoGpu, SimulatedCard, SimulatedGpu, detect};

use crate::kernels;

pub(crate) const MIB: u64 = 1 << 20;

/// A card under test. On a card that others use too, what is free changes between two looks.
pub(crate) struct Card<'a> {
    pub(crate) memory: &'a dyn DeviceMemory,
    pub(crate) device: u32,
    pub(crate) ours_alone: bool,
}

pub(crate) fn conformance(card: &Card) {
    it_is_listed_and_its_numbers_add_up(card);
    what_is_written_is_read_back_at_every_offset(card);
    a_copy_past_the_end_is_refused_and_copies_nothing(card);
    freeing_gives_the_memory_back(card);
    running_out_of_memory_leaves_everything_as_it_was(card);
    an_empty_allocation_is_an_allocation(card);
    another_probe_s_allocation_is_refused_and_given_back(card);
    a_device_that_is_not_there_is_named(card);
    threads_may_use_it_at_once(card);
    an_anchored_address_outlives_what_it_held(card);
    copies_and_vacating_may_meet(card);
    what_was_not_allocated_anchored_is_not_vacated(card);
    adopted_memory_is_its_owner_s_memory(card);
    memory_that_is_not_the_card_s_is_not_adopted(card);
    kernels::conformance(card);
}

pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

fn it_is_listed_and_its_numbers_add_up(card: &Card) {
    // R28
    let devices = card.memory.devices().unwrap();
    let info = &devices[card.device as usize];
    assert_eq!(info.index, card.device);
    assert!(!info.name.is_empty() && info.total_bytes > 0);
    let memory = card.memory.memory(card.device).unwrap();
    assert_eq!(memory.total_bytes, memory.free_bytes + memory.used_bytes);
    let pieces = card.memory.fragmentation(card.device).unwrap();
    assert!(pieces.largest_free_bytes.is_none_or(|largest| largest <= pieces.free_bytes));
    match card.memory.processes(card.device) {
        Ok(processes) => assert!(processes.is_sorted_by_key(|process| process.pid)),
        Err(error) => assert!(matches!(error, Error::NotReported { .. }), "{error}"),
    }
}

fn what_is_written_is_read_back_at_every_offset(card: &Card) {
    let size = 3 * MIB + 17;
    let allocation = card.memory.allocate(card.device, size).unwrap();
    assert_eq!((allocation.device(), allocation.bytes()), (card.device, size));
    assert_ne!(allocation.address(), 0);
    let mut expected = pattern(1, size as usize);
    card.memory.write(&allocation, 0, &expected).unwrap();
    for (offset, len) in [(0, 1), (MIB - 1, 2), (MIB, MIB), (5, 2 * MIB + 3), (size - 1, 1), (size, 0)] {
        let (from, to) = (offset as usize, (offset + len) as usize);
        let data = pattern(offset + 2, len as usize);
        card.memory.write(&allocation, offset, &data).unwrap();
        expected[from..to].copy_from_slice(&data);
        let mut out = vec![0; len as usize];
        card.memory.read(&allocation, offset, &mut out).unwrap();
        assert!(out == data, "{len} bytes at {offset}");
    }
    let mut all = vec![0; size as usize];
    card.memory.read(&allocation, 0, &mut all).unwrap();
    assert!(all == expected);
    card.memory.free(allocation).unwrap();
}

fn a_copy_past_the_end_is_refused_and_copies_nothing(card: &Card) {
    let allocation = card.memory.allocate(card.device, 100).unwrap();
    card.memory.write(&allocation, 0, &[7; 100]).unwrap();
    for (offset, len) in [(0, 101), (100, 1), (99, 2), (u64::MAX, 1), (u64::MAX - 1, 4)] {
        let wrote = card.memory.write(&allocation, offset, &vec![1; len]);
        assert!(matches!(wrote, Err(Error::OutOfRange { bytes: 100, .. })), "{offset} {len}: {wrote:?}");
        let read = card.memory.read(&allocation, offset, &mut vec![1; len]);
        assert!(matches!(read, Err(Error::OutOfRange { bytes: 100, .. })), "{offset} {len}: {read:?}");
    }
    let mut out = [0; 100];
    card.memory.read(&allocation, 0, &mut out).unwrap();
    assert_eq!(out, [7; 100]);
    card.memory.free(allocation).unwrap();
}

fn freeing_gives_the_memory_back(card: &Card) {
    let size = 64 * MIB;
    let before = card.memory.memory(card.device).unwrap();
    let allocation = card.memory.allocate(card.device, size).unwrap();
    let during = card.memory.memory(card.device).unwrap();
    assert_eq!(during.total_bytes, before.total_bytes);
    let held = card.memory.fragmentation(card.device).unwrap();
    assert!(held.allocated_bytes >= size);
    let given_back = card.memory.free(allocation).unwrap();
    let after = card.memory.memory(card.device).unwrap();
    assert_eq!(card.memory.fragmentation(card.device).unwrap().allocated_bytes, held.allocated_bytes - size);
    if card.ours_alone {
        assert_eq!(before.free_bytes - during.free_bytes, size);
        assert_eq!(after, before);
        assert_eq!(given_back, size);
    }
}

fn running_out_of_memory_leaves_everything_as_it_was(card: &Card) {
    // R4
    let kept = card.memory.allocate(card.device, MIB).unwrap();
    let data = pattern(9, MIB as usize);
    card.memory.write(&kept, 0, &data).unwrap();
    let before = card.memory.memory(card.device).unwrap();

    let too_much = before.total_bytes + MIB;
    match card.memory.allocate(card.device, too_much) {
        Err(Error::OutOfMemory(oom)) => {
            assert_eq!(
                (oom.device, oom.requested_bytes, oom.total_bytes),
                (card.device, too_much, before.total_bytes)
            );
            assert!(oom.free_bytes <= oom.total_bytes && oom.allocated_bytes >= MIB);
            assert!(oom.to_string().starts_with("CUDA out of memory. Tried to allocate "), "{oom}");
        }
        other => panic!("{other:?}"),
    }

    let mut out = vec![0; MIB as usize];
    card.memory.read(&kept, 0, &mut out).unwrap();
    assert!(out == data);
    if card.ours_alone {
        assert_eq!(card.memory.memory(card.device).unwrap(), before);
    }
    let again = card.memory.allocate(card.device, MIB).unwrap();
    card.memory.free(again).unwrap();
    card.memory.free(kept).unwrap();
}

fn an_empty_allocation_is_an_allocation(card: &Card) {
    let empty = card.memory.allocate(card.device, 0).unwrap();
    assert_eq!((empty.bytes(), empty.address()), (0, 0));
    card.memory.write(&empty, 0, &[]).unwrap();
    card.memory.read(&empty, 0, &mut []).unwrap();
    assert!(matches!(card.memory.write(&empty, 0, &[1]), Err(Error::OutOfRange { .. })));
    assert_eq!(card.memory.free(empty).unwrap(), 0);
}

fn another_probe_s_allocation_is_refused_and_given_back(card: &Card) {
    let other = SimulatedGpu::new(MIB);
    let stranger = other.allocate(0, 16).unwrap();
    other.write(&stranger, 0, &[3; 16]).unwrap();
    assert!(matches!(card.memory.write(&stranger, 0, &[1]), Err(Error::ForeignAllocation { .. })));
    assert!(matches!(card.memory.read(&stranger, 0, &mut [1]), Err(Error::ForeignAllocation { .. })));
    assert!(matches!(card.memory.vacate(&stranger), Err(Error::ForeignAllocation { .. })));
    assert!(matches!(card.memory.occupy(&stranger), Err(Error::ForeignAllocation { .. })));
    let refused = card.memory.free(stranger).unwrap_err();
    assert!(matches!(refused.source, Error::ForeignAllocation { .. }));
    let mut out = [0; 16];
    other.read(&refused.allocation, 0, &mut out).unwrap();
    assert_eq!(out, [3; 16]);
    other.free(refused.allocation).unwrap();
}

fn a_device_that_is_not_there_is_named(card: &Card) {
    let count = card.memory.devices().unwrap().len() as u32;
    for device in [count, u32::MAX] {
        for error in [
            card.memory.memory(device).unwrap_err(),
            card.memory.processes(device).unwrap_err(),
            card.memory.fragmentation(device).unwrap_err(),
            card.memory.allocate(device, 1).unwrap_err(),
            card.memory.allocate_anchored(device, 1).unwrap_err(),
            // SAFETY: no byte of it is used.
            unsafe { card.memory.adopt(device, 1, 1) }.unwrap_err(),
            card.memory.kernels(device, &kernels::SETUP).unwrap_err(),
        ] {
            assert!(matches!(error, Error::NoSuchDevice { .. }), "{error}");
            assert!(error.to_string().contains(&format!("there is no GPU {device}")), "{error}");
        }
    }
}

fn threads_may_use_it_at_once(card: &Card) {
    let before = card.memory.fragmentation(card.device).unwrap().allocated_bytes;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for round in 0..20 {
                    let data = pattern(thread * 100 + round, 70_000);
                    let allocation = card.memory.allocate(card.device, 70_000).unwrap();
                    card.memory.write(&allocation, 0, &data).unwrap();
                    let mut out = vec![0; 70_000];
                    card.memory.read(&allocation, 0, &mut out).unwrap();
                    assert!(out == data);
                    card.memory.free(allocation).unwrap();
                }
            });
        }
    });
    assert_eq!(card.memory.fragmentation(card.device).unwrap().allocated_bytes, before);
}

/// `None` where the card has no anchored memory, which it must say in words.
fn anchored(card: &Card, bytes: u64) -> Option<Allocation> {
    match card.memory.allocate_anchored(card.device, bytes) {
        Ok(allocation) => Some(allocation),
        Err(error @ Error::Unsupported { .. }) => {
            assert!(error.to_string().contains("keep an address without memory"), "{error}");
            println!("no anchored memory: skipped ({error})");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn an_anchored_address_outlives_what_it_held(card: &Card) {
    let before = card.memory.memory(card.device).unwrap();
    let held = card.memory.fragmentation(card.device).unwrap().allocated_bytes;
    let size = 3 * MIB + 5;
    let Some(first) = anchored(card, size) else { return };
    let address = first.address();
    assert_eq!(first.bytes(), size);
    assert_eq!(card.memory.fragmentation(card.device).unwrap().allocated_bytes, held + size);
    for round in 0..3 {
        let data = pattern(round, size as usize);
        card.memory.write(&first, 0, &data).unwrap();
        let mut out = vec![0; size as usize];
        card.memory.read(&first, 0, &mut out).unwrap();
        assert!(out == data);
        card.memory.occupy(&first).unwrap(); // is occupied: stays as it is
        card.memory.read(&first, 0, &mut out).unwrap();
        assert!(out == data);

        let given_back = card.memory.vacate(&first).unwrap();
        assert!(given_back >= size);
        assert_eq!(card.memory.vacate(&first).unwrap(), 0);
        assert_eq!(card.memory.fragmentation(card.device).unwrap().allocated_bytes, held);
        if card.ours_alone {
            assert_eq!(card.memory.memory(card.device).unwrap(), before);
        }
        // Others take what became free, and never the address.
        let second = anchored(card, size).unwrap();
        let third = card.memory.allocate(card.device, size).unwrap();
        for other in [&second, &third] {
            assert!(other.address() >= address + size || other.address() + size <= address);
        }
        let refused = card.memory.write(&first, 0, &[1]).unwrap_err();
        assert!(matches!(refused, Error::Vacant { .. }), "{refused}");
        let refused = card.memory.read(&first, 1, &mut [1]).unwrap_err();
        assert!(refused.to_string().contains("is vacant"), "{refused}");
        card.memory.free(third).unwrap();
        assert!(card.memory.free(second).unwrap() >= size);
        card.memory.occupy(&first).unwrap();
        assert_eq!(first.address(), address);
    }
    card.memory.vacate(&first).unwrap();
    assert_eq!(card.memory.free(first).unwrap(), 0);
    let whole = anchored(card, size).unwrap();
    assert!(card.memory.free(whole).unwrap() >= size);
    let empty = anchored(card, 0).unwrap();
    assert_eq!((empty.address(), card.memory.vacate(&empty).unwrap()), (0, 0));
    card.memory.occupy(&empty).unwrap();
    assert_eq!(card.memory.free(empty).unwrap(), 0);
    let too_much = card.memory.allocate_anchored(card.device, before.total_bytes + MIB);
    assert!(matches!(too_much, Err(Error::OutOfMemory(_))), "{too_much:?}");
    let too_much = card.memory.allocate_anchored(card.device, u64::MAX);
    assert!(matches!(too_much, Err(Error::OutOfMemory(_))), "{too_much:?}");
    if card.ours_alone {
        assert_eq!(card.memory.memory(card.device).unwrap(), before);
    }
}

fn copies_and_vacating_may_meet(card: &Card) {
    let Some(meeting) = anchored(card, MIB) else { return };
    std::thread::scope(|scope| {
        let meeting = &meeting;
        for _ in 0..2 {
            scope.spawn(move || {
                let mut out = vec![0; MIB as usize];
                for _ in 0..50 {
                    let copied = card
                        .memory
                        .read(meeting, 0, &mut out)
                        .and_then(|()| card.memory.write(meeting, 0, &out));
                    assert!(matches!(copied, Ok(()) | Err(Error::Vacant { .. })), "{copied:?}");
                }
            });
        }
        for _ in 0..20 {
            card.memory.vacate(meeting).unwrap();
            card.memory.occupy(meeting).unwrap();
        }
    });
    card.memory.free(meeting).unwrap();
}

fn what_was_not_allocated_anchored_is_not_vacated(card: &Card) {
    let plain = card.memory.allocate(card.device, 100).unwrap();
    card.memory.write(&plain, 0, &[7; 100]).unwrap();
    assert!(matches!(card.memory.vacate(&plain), Err(Error::Unsupported { .. })));
    assert!(matches!(card.memory.occupy(&plain), Err(Error::Unsupported { .. })));
    let mut out = [0; 100];
    card.memory.read(&plain, 0, &mut out).unwrap();
    assert_eq!(out, [7; 100]);
    card.memory.free(plain).unwrap();
}

fn adopted_memory_is_its_owner_s_memory(card: &Card) {
    let owner = card.memory.allocate(card.device, 1000).unwrap();
    card.memory.write(&owner, 0, &pattern(4, 1000)).unwrap();
    let before = card.memory.fragmentation(card.device).unwrap();
    // SAFETY: the owner is freed after this, and used by this thread alone.
    let adopted = unsafe { card.memory.adopt(card.device, owner.address() + 100, 900) }.unwrap();
    assert_eq!((adopted.address(), adopted.bytes()), (owner.address() + 100, 900));
    let mut out = vec![0; 900];
    card.memory.read(&adopted, 0, &mut out).unwrap();
    assert!(out == pattern(4, 1000)[100..]);
    card.memory.write(&adopted, 899, &[42]).unwrap();
    let mut last = [0];
    card.memory.read(&owner, 999, &mut last).unwrap();
    assert_eq!(last, [42]);
    assert!(matches!(card.memory.write(&adopted, 899, &[1; 2]), Err(Error::OutOfRange { bytes: 900, .. })));
    assert!(matches!(card.memory.vacate(&adopted), Err(Error::Unsupported { .. })));
    if card.ours_alone {
        assert_eq!(card.memory.fragmentation(card.device).unwrap(), before);
    }
    assert_eq!(card.memory.free(adopted).unwrap(), 0);
    card.memory.read(&owner, 999, &mut last).unwrap();
    assert_eq!(last, [42]);
    card.memory.free(owner).unwrap();
}

fn memory_that_is_not_the_card_s_is_not_adopted(card: &Card) {
    let owner = card.memory.allocate(card.device, 1000).unwrap();
    let host = [0_u8; 16];
    for (address, bytes) in [
        (host.as_ptr() as u64, 16),
        (owner.address(), 1 << 40),
        (owner.address(), u64::MAX),
        (u64::MAX, 1),
        (0, 8),
    ] {
        // SAFETY: nothing is read or written, since it is refused.
        let refused = unsafe { card.memory.adopt(card.device, address, bytes) }.unwrap_err();
        assert!(matches!(refused, Error::Unsupported { .. }), "{address:#x} {bytes}: {refused}");
    }
    // SAFETY: no byte is adopted.
    let empty = unsafe { card.memory.adopt(card.device, 1, 0) }.unwrap();
    assert_eq!((empty.address(), card.memory.free(empty).unwrap()), (0, 0));
    card.memory.free(owner).unwrap();
}

#[test]
fn the_simulated_card_conforms() {
    // R32
    conformance(&Card { memory: &SimulatedGpu::default(), device: 0, ours_alone: true });
}

#[test]
fn the_second_of_two_simulated_cards_conforms_beside_another_process() {
    let gpu = SimulatedGpu::with_cards([
        SimulatedCard { capacity_bytes: 0, ..SimulatedCard::default() },
        SimulatedCard { name: "small".into(), capacity_bytes: 100 * MIB, ..SimulatedCard::default() },
    ]);
    gpu.add_process(1, 4242, "python", 20 * MIB).unwrap();
    conformance(&Card { memory: &gpu, device: 1, ours_alone: true });
}

#[test]
fn the_simulated_card_with_a_caching_allocator_conforms() {
    let card = SimulatedCard { allocator: Allocator::Caching, ..SimulatedCard::default() };
    conformance(&Card { memory: &SimulatedGpu::with_cards([card]), device: 0, ours_alone: false });
}

#[test]
fn the_real_card_conforms_where_there_is_one() {
    let found = detect();
    let devices = found.probe.devices().unwrap();
    if devices.is_empty() {
        assert_eq!(found.probe.source(), "none");
        println!("no GPU: skipped ({})", found.note);
        return;
    }
    println!("{}", found.note);
    for info in devices {
        println!("{info:?}");
        println!("{:?}", found.probe.processes(info.index));
        conformance(&Card { memory: &*found.probe, device: info.index, ours_alone: false });
        // Left behind on purpose: the probe frees it when it is dropped.
        let _ = found.probe.allocate(info.index, MIB).unwrap();
    }
}

#[test]
fn a_machine_without_a_gpu_answers_every_question() {
    // R28
    let none = NoGpu::new("no driver");
    a_device_that_is_not_there_is_named(&Card { memory: &none, device: 0, ours_alone: true });
    another_probe_s_allocation_is_refused_and_given_back(&Card {
        memory: &none,
        device: 0,
        ours_alone: true,
    });
}
