//! Faults by which replicas come apart, which the seeds have to find.

#[cfg(plant)]
const NAME: &str = "CROSSDOCK_PLANT";

/// Plants the fault that the environment names, in a build that has faults.
pub(super) fn plant_from_environment() {
    #[cfg(plant)]
    if let Ok(name) = std::env::var(NAME) {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| assert!(io::plant(&name), "there is a fault {name}"));
    }
}

/// Each fault makes the seeds fail, run alone in a process that has it.
#[cfg(plant)]
#[test]
fn every_planted_fault_is_found() {
    const TESTS: [&str; 2] = [
        "tests::replicas::replicas_lose_nothing_and_agree_whatever_happens",
        "tests::replicas::between::what_goes_between_shards_arrives_once_whoever_leads_them",
    ];
    for (fault, _) in io::SHARD_FAULTS {
        let finds = |test: &&str| {
            let mut run = std::process::Command::new(std::env::current_exe().unwrap());
            let run = run.args(["--exact", test]).env(NAME, fault).output().unwrap();
            let said = String::from_utf8_lossy(&run.stdout).into_owned();
            assert!(said.contains("running 1 test"), "{test} is a test");
            !run.status.success()
        };
        assert!(TESTS.iter().any(finds), "nobody finds {fault}");
    }
}
