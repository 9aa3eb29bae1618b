use super::*;
use clap::Parser;

#[derive(Debug, Parser)]
struct Typed {
    #[command(flatten)]
    options: Options,
}

#[test]
fn the_defaults_of_programs_and_of_flags_are_the_same() {
    let typed = Typed::parse_from(["crossdock"]).options;
    let embedded = Options::embedded("crossdock-data");
    let comparable = |options: &Options| {
        let Options { listen: _, log: _, .. } = options;
        let mut same = options.clone();
        same.listen = Vec::new();
        same.log = tracing_subscriber::filter::LevelFilter::OFF;
        format!("{same:?}")
    };
    assert_eq!(comparable(&typed), comparable(&embedded));
    assert_eq!(typed.listen, []);
}

#[test]
fn an_address_is_taken_or_told_why_not() {
    let admin = |address: Option<&str>| Listen {
        wire: "admin".into(),
        address: address.map(|text| text.parse().unwrap()),
    };
    assert_eq!("admin=off".parse(), Ok(admin(None)));
    assert_eq!("admin=[::1]:0".parse(), Ok(admin(Some("[::1]:0"))));
    for (text, why) in [
        ("admin", "it has the form"),
        ("admin=15672", "'15672' is no address and port"),
        ("telnet=127.0.0.1:23", "there is no wire 'telnet'"),
    ] {
        let told = text.parse::<Listen>().unwrap_err();
        assert!(told.starts_with(why), "{told}");
    }
}

#[test]
fn an_advertised_address_is_a_name_or_a_number() {
    for (text, host) in
        [("kafka=broker.example:9", "broker.example"), ("kafka=[::1]:9", "::1"), ("kafka=a:9", "a")]
    {
        let advertise: Advertise = text.parse().unwrap();
        assert_eq!(advertise.address, Address { host: host.into(), port: 9 });
    }
    for text in ["kafka=", "kafka=:9", "kafka=a:", "kafka=a:70000", "kafka=a", "amqp=a:9", "x=a:9"]
    {
        assert!(text.parse::<Advertise>().is_err(), "{text}");
    }
}

#[test]
fn a_file_says_what_flags_say() {
    let place = std::env::temp_dir().join(format!("crossdock-options-{}", std::process::id()));
    let told = |text: &str| {
        std::fs::write(&place, text).unwrap();
        file::flags(&place).map_err(|why| why.replace(&place.display().to_string(), "FILE"))
    };
    let flags = told("data = \"d\"\nworkers = 3\nsalvage = true\nlisten = [\"admin=off\"]\n");
    let flags = flags.unwrap();
    assert_eq!(flags, ["--data=d", "--listen=admin=off", "--salvage=true", "--workers=3"]);
    let options = Typed::parse_from(["crossdock".to_owned()].into_iter().chain(flags)).options;
    assert_eq!((options.workers, options.opening.salvage), (3, true));
    assert!(told("wrokers = 3").unwrap_err().starts_with("FILE: there is no option 'wrokers'"));
    assert!(told("\nworkers = ").unwrap_err().starts_with("FILE, line 2:"));
    assert_eq!(told("workers = 1.5").unwrap_err(), "FILE: 'workers' cannot be 1.5");
    std::fs::remove_file(&place).unwrap();
}
