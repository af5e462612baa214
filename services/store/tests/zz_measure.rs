mod common;
use common::{Frame, count, head, ingest, text};
use vigia_kit::clock::now;
use vigia_protocol::batch::Count;
use vigia_store::store::Store;
fn io() -> u64 {
    std::fs::read_to_string("/proc/self/io")
        .unwrap()
        .lines()
        .find(|l| l.starts_with("write_bytes"))
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}
fn cpu() -> u64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}
fn rss() -> String {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("VmRSS") || l.starts_with("VmHWM"))
        .collect::<Vec<_>>()
        .join(" ")
}
fn go(
    name: &str,
    sensors: i16,
    per_frame: u16,
    frames_per_batch: usize,
    batches_per_commit: usize,
    commits: usize,
) {
    let dir = tempfile::tempdir_in("/work/main/target").unwrap();
    let store =
        Store::open(&dir.path().join("s.redb"), vigia_disk::Unsynced::Kernel, None, now()).unwrap();
    let mut next = vec![1u64; sensors as usize];
    let mut s = 0usize;
    let mut n = 0;
    let mut before = Count::default();
    let (mut t, mut readings) = (std::time::Duration::ZERO, 0u64);
    let mut tcpu = 0u64;
    let mut topen = std::time::Duration::ZERO;
    let mut textbytes = 0;
    let w0 = io();
    for c in 0..commits {
        let msgs: Vec<Vec<u8>> = (0..batches_per_commit)
            .map(|_| {
                let frames: Vec<Frame> = (0..frames_per_batch)
                    .map(|_| {
                        let f = Frame::Readings {
                            sensor: s as i16,
                            stream: 1,
                            seq: next[s],
                            count: per_frame,
                            tint: 0,
                        };
                        next[s] += u64::from(per_frame);
                        s = (s + 1) % next.len();
                        f
                    })
                    .collect();
                let h = head(1, n, before, count(&frames));
                n += 1;
                before = before.plus(h.has);
                readings += h.has.readings;
                text(&h, &frames)
            })
            .collect();
        textbytes += msgs.iter().map(|m| m.len()).sum::<usize>();
        let refs: Vec<&[u8]> = msgs.iter().map(|m| m.as_slice()).collect();
        let keys = common::keys();
        let start = std::time::Instant::now();
        for m in &refs {
            std::hint::black_box(vigia_store::batch::open(&keys, common::TOPIC, m));
        }
        topen += start.elapsed();
        let start = std::time::Instant::now();
        let cpu0 = cpu();
        // simulated time: 25 ms a commit
        ingest(&store, &refs, vigia_protocol::time::Micros(now().0 + c as i64 * 25_000));
        t += start.elapsed();
        tcpu += cpu() - cpu0;
    }
    let w = io() - w0;
    println!(
        "{name}: {readings} readings, {:.2} us/reading total, {:.2} us parse, CPU {:.2} us/reading, {:.1} B written/reading, {:.2} MB/s at 40 commits/s, {:.2} ms/commit text {} B/reading; {}",
        t.as_secs_f64() * 1e6 / readings as f64,
        topen.as_secs_f64() * 1e6 / readings as f64,
        tcpu as f64 / 1e3 / readings as f64,
        w as f64 / readings as f64,
        w as f64 / commits as f64 * 40.0 / 1e6,
        t.as_secs_f64() * 1e3 / commits as f64,
        textbytes as u64 / readings,
        rss()
    );
    let start = std::time::Instant::now();
    let size = std::fs::metadata(dir.path().join("s.redb")).unwrap().len();
    drop(store);
    let d = start.elapsed();
    let start = std::time::Instant::now();
    let _store =
        Store::open(&dir.path().join("s.redb"), vigia_disk::Unsynced::Kernel, None, now()).unwrap();
    println!(
        "   file {} MB, close {:?}, reopen {:?} {}",
        size / 1_000_000,
        d,
        start.elapsed(),
        rss()
    );
}
#[test]
fn measure() {
    go("2,000/s 50 sensors singles", 50, 1, 10, 5, 800);
    go("2,000/s 1000 sensors singles", 1000, 1, 10, 5, 800);
    go("100,000/s 50 sensors", 50, 1, 1000, 2, 400);
    go("100,000/s 50 sensors full frames", 50, 50, 20, 2, 400);
}
