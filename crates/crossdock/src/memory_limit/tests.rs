use super::{group_bytes, limits, total_bytes};
use crate::options::{InMemory, Options};

#[test]
fn the_cache_is_a_part_of_the_limit() {
    let with = |limit: usize, cache: Option<usize>| {
        let options = Options::embedded("unused");
        let memory = InMemory { memory_limit: Some(limit), cache_bytes: cache };
        let told = Options { memory, ..options };
        limits(&told).map_err(|why| why.to_string())
    };
    assert_eq!(with(1 << 30, None), Ok((1 << 30, 64 << 20)));
    assert_eq!(with(128 << 20, None), Ok((128 << 20, 16 << 20)));
    assert_eq!(with(1 << 30, Some(1 << 29)), Ok((1 << 30, 1 << 29)));
    let small = with(1 << 20, None).unwrap_err();
    assert!(small.starts_with("a memory limit of 1048576 bytes is too small"), "{small}");
    assert!(with(1 << 30, Some(1 << 30)).unwrap_err().contains("more than half"));
}

#[test]
fn a_machine_tells_its_memory_in_kilobytes() {
    assert_eq!(total_bytes("MemTotal:       24576 kB\nMemFree: 1 kB\n"), Some(24 << 20));
    assert_eq!(total_bytes("MemFree: 1 kB\n"), None);
}

#[test]
fn the_narrowest_control_group_counts() {
    let groups = std::env::temp_dir().join(format!("crossdock-groups-{}", std::process::id()));
    let own = groups.join("slice/service");
    std::fs::create_dir_all(&own).unwrap();
    let of_process = "0::/slice/service\n";
    assert_eq!(group_bytes(of_process, &groups), None);
    std::fs::write(own.join("memory.max"), "max\n").unwrap();
    std::fs::write(groups.join("slice/memory.max"), "4096\n").unwrap();
    assert_eq!(group_bytes(of_process, &groups), Some(4096));
    std::fs::write(own.join("memory.max"), "1024\n").unwrap();
    assert_eq!(group_bytes(of_process, &groups), Some(1024));
    assert_eq!(group_bytes("7:memory:/slice\n", &groups), None, "version 1 says nothing here");
    std::fs::remove_dir_all(&groups).unwrap();
}
