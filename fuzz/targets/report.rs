//! The store's and the journal's reports; what decodes is fed to a publisher.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigia_fuzz::Choices;
use vigia_protocol::batch::{decode, encode};
use vigia_protocol::position::LogId;
use vigia_protocol::publisher::{Next, Publisher};
use vigia_protocol::report::{JournalReport, StoreReport, Totals};
use vigia_protocol::time::Micros;

fn drive(publisher: &mut Publisher, now: Micros) {
    for _ in 0..20 {
        match publisher.next(now) {
            Next::Row(log, n) => publisher.published(log, n, 300 * 1024),
            Next::Marker(_) => {}
            Next::Wait(_) => return,
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let (oldest, end) = (choices.number(), choices.number());
    if let Ok(report) = decode::<JournalReport>(choices.0) {
        assert_eq!(decode::<JournalReport>(&encode(&report)), Ok(report));
    }
    let Ok(mut report) = decode::<StoreReport>(choices.0) else { return };
    let sums = report.logs.iter().filter_map(|log| log.totals);
    let _ = sums.fold(Totals::default(), Totals::plus).accounted();
    let mut publisher = Publisher::new(1);
    for (at, log) in report.logs.iter().enumerate() {
        let _ = log.accounted.len();
        publisher.add_log(log.log, if at == 0 { oldest } else { 0 }, end.max(oldest));
    }
    publisher.add_log(LogId(1), oldest, end.max(oldest));
    publisher.connected();
    for (now, number) in [(0, 1), (1_000_000, 2), (5_000_000, 3)] {
        drive(&mut publisher, Micros(now));
        publisher.reported(&report, Micros(now));
        report.marker = Some((1, number));
        publisher.reported(&report, Micros(now));
        drive(&mut publisher, Micros(now));
        publisher.disconnected();
        publisher.connected();
    }
    let _ = (publisher.watermark(LogId(1)), publisher.credit_used());
});
