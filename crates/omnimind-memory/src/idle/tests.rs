use gpu_probe::{DeviceMemory, SimulatedGpu};
use softhair_compress::DType;

use super::*;
use crate::NamedTensor;

fn item(kind: &str, gpu: &SimulatedGpu, device: u32, bytes: u64) -> Item<'static> {
    let allocation = gpu.allocate(device, bytes).unwrap();
    Item::new(kind, vec![NamedTensor::device("w", DType::U8, [bytes as usize], allocation)])
}

fn claimed(idle: &Idle, bytes: Option<u64>, room: Room) -> Vec<IdleId> {
    idle.claim(bytes, room, &HashSet::new()).iter().map(|claim| claim.id).collect()
}

#[test]
fn the_least_recently_used_leave_first_and_among_equals_the_cheapest() {
    // R30
    let (idle, gpu) = (Idle::new(), SimulatedGpu::default());
    let context = ProcessContext::new("a").unwrap();
    let add = |kind: &str, bytes, minutes: u64| {
        idle.add(item(kind, &gpu, 0, bytes), &context, Duration::from_secs(60 * minutes))
    };
    let fresh = add("model", 10, 0);
    let large = add("model", 900, 5);
    let small = add("model", 100, 5);
    let oldest = add("model", 500, 60);
    assert_eq!(
        claimed(&idle, None, Room::Card(0)),
        [oldest],
        "one at a time if it is not known how much is wanted"
    );
    assert_eq!(claimed(&idle, Some(601), Room::Card(0)), [oldest, small, large]);
    assert_eq!(claimed(&idle, Some(10_000), Room::AnyCard), [oldest, small, large, fresh]);
    assert!(claimed(&idle, None, Room::Card(1)).is_empty(), "nothing is on that card");
    assert!(idle.touch(oldest));
    assert_eq!(claimed(&idle, None, Room::Card(0)), [small]);
    let except = HashSet::from([small]);
    assert_eq!(idle.claim(None, Room::AnyCard, &except)[0].id, large);
}

#[test]
fn what_a_type_took_before_is_what_it_is_expected_to_take() {
    let (idle, gpu) = (Idle::new(), SimulatedGpu::default());
    let context = ProcessContext::new("a").unwrap();
    let ids: Vec<_> =
        (0..2).map(|_| idle.add(item("model", &gpu, 0, 1000), &context, Duration::ZERO)).collect();
    let cost = |at: usize| idle.list()[at].cost;
    assert_eq!((cost(1).stored_bytes, cost(1).measured), (300, false));
    let claim = idle.claim(None, Room::AnyCard, &HashSet::new()).remove(0);
    assert_eq!(claim.id, ids[0]);
    let (_, ending) = claim.begin();
    ending.stored(ContentHash::of(b"x"), 0.5);
    assert_eq!((cost(1).stored_bytes, cost(1).measured), (500, true));
    assert!(matches!(idle.take(ids[0]), Taken::Consolidated(hash) if hash == ContentHash::of(b"x")));
    assert!(matches!(idle.take(ids[0]), Taken::Unknown));
}

#[test]
fn an_item_is_with_one_thread_at_a_time_and_whoever_wants_it_waits() {
    let (idle, gpu) = (Idle::new(), SimulatedGpu::default());
    let id = idle.add(item("model", &gpu, 0, 10), &ProcessContext::new("a").unwrap(), Duration::ZERO);
    let before = idle.settlements();
    let claim = idle.claim(None, Room::AnyCard, &HashSet::new()).remove(0);
    assert!(idle.claim(None, Room::AnyCard, &HashSet::new()).is_empty() && !idle.touch(id));
    let (item, ending) = claim.begin();
    std::thread::scope(|scope| {
        let taking = scope.spawn(|| idle.take(id));
        let waiting = scope.spawn(|| idle.news_since(before));
        ending.unharmed(item.unwrap());
        assert!(matches!(taking.join().unwrap(), Taken::Item(_)));
        assert!(waiting.join().unwrap());
    });
    assert!(!idle.news_since(idle.settlements()), "nobody is at work, so nobody is waited for");
}
