//! What the proxy does to connections, seen from both ends.

use super::*;
use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener as Listener, TcpStream as Stream},
};

/// A server that gives back what it gets, and a proxy before it.
fn echo() -> Proxy {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut back = stream.try_clone().unwrap();
                std::io::copy(&mut stream, &mut back)
            });
        }
    });
    Proxy::to(port)
}

fn connect(proxy: &Proxy) -> Stream {
    let stream = Stream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Says a byte and hears it again.
fn talk(stream: &mut Stream) {
    stream.write_all(b"a").unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_cut_is_an_end_or_a_reset_and_new_connections_are_forwarded() {
    let proxy = echo();
    let mut first = connect(&proxy);
    talk(&mut first);
    assert_eq!(proxy.taken(), 1);
    proxy.cut(Cut::Finish);
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
    let mut second = connect(&proxy);
    talk(&mut second);
    proxy.cut(Cut::Reset);
    assert_eq!(
        second.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    talk(&mut connect(&proxy));
}

#[test]
fn what_was_swallowed_comes_through_when_it_heals() {
    let proxy = echo();
    let mut stream = connect(&proxy);
    talk(&mut stream);
    proxy.swallow();
    stream.write_all(b"b").unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(stream.read_exact(&mut [0]).is_err());
    proxy.heal();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut heard = [0];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"b");
}

#[test]
fn a_refused_connection_is_refused_until_it_heals() {
    let proxy = echo();
    let mut before = connect(&proxy);
    talk(&mut before);
    proxy.refuse();
    assert!(before.read_exact(&mut [0]).is_err());
    assert_eq!(
        Stream::connect((Ipv4Addr::LOCALHOST, proxy.port()))
            .unwrap_err()
            .kind(),
        ErrorKind::ConnectionRefused
    );
    proxy.heal();
    talk(&mut connect(&proxy));
}

/// A stream through a proxy, and its other end.
fn ends() -> (Proxy, Stream, Stream) {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap().port());
    let client = connect(&proxy);
    let (server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    (proxy, client, server)
}

/// Everything up to the end, and whether that was a reset.
fn rest(stream: &mut Stream) -> (Vec<u8>, bool) {
    let mut heard = Vec::new();
    let end = stream.read_to_end(&mut heard);
    (
        heard,
        end.is_err_and(|end| end.kind() == ErrorKind::ConnectionReset),
    )
}

/// Whether nothing comes for a while.
fn is_silent(stream: &mut Stream) -> bool {
    let limit = stream.read_timeout().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let silent = stream.peek(&mut [0]).is_err();
    stream.set_read_timeout(limit).unwrap();
    silent
}

#[test]
fn a_black_hole_of_one_direction_lets_the_other_one_through() {
    let (proxy, mut client, mut server) = ends();
    for way in Way::BOTH {
        let (from, to) = match way {
            Way::ToServer => (&mut client, &mut server),
            Way::ToClient => (&mut server, &mut client),
        };
        proxy.pace(way, Pace::Swallow);
        from.write_all(b"there").unwrap();
        to.write_all(b"back").unwrap();
        from.read_exact(&mut [0; 4]).unwrap();
        assert!(is_silent(to), "{way:?}");
        proxy.heal();
        let mut heard = [0; 5];
        to.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"there");
    }
    assert_eq!(Way::BOTH.map(|way| proxy.carried(way)), [9, 9]);
}

#[test]
fn one_direction_ends_and_the_other_goes_on() {
    let (proxy, mut client, mut server) = ends();
    client.write_all(b"heard").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();
    proxy.finish(Way::ToServer);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    client.write_all(b"lost").unwrap();
    server.write_all(b"back").unwrap();
    let mut heard = [0; 4];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"back");
    drop(server);
    assert_eq!(rest(&mut client), (vec![], false));
    let proxy = echo();
    let mut before = connect(&proxy);
    talk(&mut before);
    proxy.finish(Way::ToServer);
    assert_eq!(before.read(&mut [0]).unwrap(), 0);
    talk(&mut connect(&proxy));
}

#[test]
fn a_connection_is_cut_at_the_byte_that_was_said() {
    let (proxy, mut client, mut server) = ends();
    client.write_all(b"before").unwrap();
    server.read_exact(&mut [0; 6]).unwrap();
    proxy.trap(Trap {
        way: Way::ToServer,
        spot: Spot::Bytes(3),
        how: Cut::Reset,
    });
    assert_eq!(proxy.sprung(), 0);
    client.write_all(b"ab").unwrap();
    server.read_exact(&mut [0; 2]).unwrap();
    client.write_all(b"cdef").unwrap();
    assert_eq!(rest(&mut server), (b"c".to_vec(), true));
    assert!(client.read(&mut [0]).is_err());
    assert_eq!(proxy.sprung(), 1);
}

#[test]
fn a_trap_may_count_from_the_start_of_a_connection_and_springs_once() {
    let proxy = echo();
    let mut client = connect(&proxy);
    talk(&mut client);
    proxy.trap(Trap {
        way: Way::ToClient,
        spot: Spot::OfConnection(4),
        how: Cut::Finish,
    });
    client.write_all(b"bcdef").unwrap();
    assert_eq!(rest(&mut client), (b"bcd".to_vec(), false));
    let mut other = connect(&proxy);
    for _ in 0..5 {
        talk(&mut other);
    }
    assert_eq!(proxy.sprung(), 1);
}

/// A frame with this method and its arguments.
fn frame((class, number): (u16, u16), arguments: &[u8]) -> Vec<u8> {
    let ids = [class.to_be_bytes(), number.to_be_bytes()].concat();
    let size = u32::try_from(ids.len() + arguments.len()).unwrap();
    [
        &[1, 0, 1][..],
        &size.to_be_bytes(),
        &ids,
        arguments,
        &[0xce],
    ]
    .concat()
}

#[test]
fn a_frame_is_cut_at_every_offset_and_right_after_it() {
    let greeting = b"AMQP\0\0\x09\x01";
    let publish = frame((60, 40), b"\0\0\0\x01q\0");
    let ack = frame(ACK, &[0; 9]);
    assert_eq!(ack.len(), 21);
    // A body that looks like an acknowledgement is none.
    let body = [&[3, 0, 1, 0, 0, 0, 21][..], &ack, &[0xce]].concat();
    for offset in 0..=22 {
        let (proxy, mut client, mut server) = ends();
        proxy.trap(Trap {
            way: Way::ToServer,
            spot: Spot::Method {
                method: ACK,
                offset,
            },
            how: Cut::Finish,
        });
        let all = [greeting, &publish[..], &body, &ack, &publish].concat();
        let before = all.len() - publish.len() - ack.len();
        // In pieces, so that heads are torn apart; a cut may come before the last one.
        for piece in all.chunks(5) {
            if client.write_all(piece).is_err() {
                break;
            }
        }
        let (heard, _) = rest(&mut server);
        let through = usize::try_from(offset).unwrap().min(ack.len());
        assert_eq!(heard, all[..before + through], "{offset}");
        assert_eq!(proxy.sprung(), 1);
    }
}

#[test]
fn a_trap_that_is_set_within_a_frame_waits_for_the_next_one() {
    let (proxy, mut client, mut server) = ends();
    let ack = frame(ACK, &[0; 9]);
    let mut heard = vec![0; ack.len()];
    server.write_all(&ack[..4]).unwrap();
    client.read_exact(&mut heard[..4]).unwrap();
    proxy.trap(Trap {
        way: Way::ToClient,
        spot: Spot::Method {
            method: ACK,
            offset: 9,
        },
        how: Cut::Finish,
    });
    server.write_all(&ack[4..6]).unwrap();
    client.read_exact(&mut heard[4..6]).unwrap();
    server.write_all(&ack[6..]).unwrap();
    client.read_exact(&mut heard[6..]).unwrap();
    assert_eq!((heard, proxy.sprung()), (ack.clone(), 0));
    server.write_all(&ack).unwrap();
    assert_eq!(rest(&mut client), (ack[..9].to_vec(), false));
}

#[test]
fn what_is_late_comes_late_and_in_order() {
    let (proxy, mut client, mut server) = ends();
    let latency = Latency {
        delay: Duration::from_millis(500),
        jitter: Duration::from_millis(20),
        lost_percent: 20,
        seed: 7,
    };
    let said: Vec<u8> = (0..20_000_u32)
        .map(|number| number.to_be_bytes()[3])
        .collect();
    proxy.pace(Way::ToServer, Pace::Late(latency));
    let begun = Instant::now();
    client.write_all(&said).unwrap();
    let mut heard = vec![0; said.len()];
    server.read_exact(&mut heard[..1]).unwrap();
    assert!(begun.elapsed() >= latency.delay);
    server.read_exact(&mut heard[1..]).unwrap();
    assert_eq!(heard, said);
    // Of 14 segments some were lost; those behind them wait with them, not after them.
    let took = begun.elapsed();
    assert!(
        took >= latency.delay + Duration::from_millis(200),
        "{took:?}"
    );
    assert!(took < latency.delay * 10, "{took:?}");
    // The other way is as it was.
    server.write_all(b"x").unwrap();
    let begun = Instant::now();
    client.read_exact(&mut [0]).unwrap();
    assert!(begun.elapsed() < latency.delay);
}

#[test]
fn the_lateness_of_a_segment_follows_from_the_seed() {
    let latency = Latency {
        delay: Duration::from_millis(100),
        jitter: Duration::from_millis(20),
        lost_percent: 2,
        seed: 1,
    };
    let all: Vec<_> = (0..10_000).map(|number| latency.of(number)).collect();
    let lost = all
        .iter()
        .filter(|it| **it >= Duration::from_millis(300))
        .count();
    assert!((150..=250).contains(&lost), "{lost}");
    let least = all.iter().min().unwrap();
    let most = all.iter().max().unwrap();
    assert!((100..105).contains(&least.as_millis()), "{least:?}");
    assert!((315..=320).contains(&most.as_millis()), "{most:?}");
}

#[test]
fn a_drip_takes_its_time_and_loses_nothing() {
    let (proxy, mut client, mut server) = ends();
    let drip = Pace::Drip {
        bytes: 10,
        every: Duration::from_millis(10),
    };
    proxy.pace(Way::ToServer, drip);
    let said: Vec<u8> = (0..200).collect();
    let begun = Instant::now();
    client.write_all(&said).unwrap();
    let mut heard = vec![0; said.len()];
    server.read_exact(&mut heard).unwrap();
    assert_eq!(heard, said);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    // It is over at once: at this pace it would take 20 s.
    let slow = Pace::Drip {
        bytes: 10,
        every: Duration::from_secs(1),
    };
    proxy.pace(Way::ToServer, slow);
    client.write_all(&said).unwrap();
    proxy.heal();
    let begun = Instant::now();
    server.read_exact(&mut heard).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
}
