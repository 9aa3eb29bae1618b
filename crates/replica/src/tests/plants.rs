//! Faults planted in this crate, which its crash tests have to find.

#[cfg(plant)]
const NAME: &str = "CROSSDOCK_PLANT";

/// Plants the fault that the environment names, in a build that has faults.
pub(super) fn plant_from_environment() {
    #[cfg(plant)]
    if let Ok(name) = std::env::var(NAME) {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| assert!(::io::plant(&name), "there is a fault {name}"));
    }
}

/// Each fault makes both crash tests fail, run alone in a process that has it.
#[cfg(plant)]
#[test]
fn every_planted_fault_is_found() {
    const TESTS: [&str; 2] = [
        "tests::crash::a_crash_at_every_call_of_a_script_loses_nothing_acknowledged",
        "tests::crash::random_lives_of_two_shards_are_as_the_model_says",
    ];
    for (fault, _) in ::io::REPLICA_FAULTS {
        for test in TESTS {
            let mut run = std::process::Command::new(std::env::current_exe().unwrap());
            let run = run.args(["--exact", test]).env(NAME, fault).output().unwrap();
            let said = String::from_utf8_lossy(&run.stdout).into_owned();
            assert!(said.contains("running 1 test"), "{test} is a test");
            assert!(!run.status.success(), "{test} does not find {fault}");
        }
    }
}
