//! seccomp programs: rules in, classic BPF out. The architecture is checked first, then a binary search over the
//! numbers, those of x32 included; a rule's conditions check both halves of an argument.

/// What the filter does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel runs it.
    Allow,
    /// A notification; without a listener `ENOSYS`.
    Notify,
    /// A stop with these 16 bits; without a tracer `ENOSYS`.
    Trace(u16),
}

/// A condition: the argument's upper half is zero and its lower half is one of these, after the mask.
#[derive(Debug, Clone, Copy)]
pub struct Condition<'a> {
    /// Which argument.
    pub arg: u8,
    /// The bits compared.
    pub mask: u32,
    /// The values.
    pub values: &'a [u32],
}

/// A rule for one number.
#[derive(Debug, Clone)]
pub struct Rule<'a> {
    /// The number.
    pub nr: u32,
    /// The verdict.
    pub verdict: Verdict,
    /// Any of these alternatives (each all of its conditions) is allowed instead.
    pub passes: Vec<Vec<Condition<'a>>>,
}

const ARCH_X86_64: u32 = 0xc000_003e;
const X32_BIT: u32 = 0x4000_0000;
const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const JUMP_EQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_GE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;

/// The data of a stop for a foreign architecture or an x32 number.
pub const FOREIGN: u16 = 1;
/// The data of a stop for a row.
pub const ROW: u16 = 0;

fn op(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

fn ret(verdict: Verdict) -> libc::sock_filter {
    op(
        RETURN,
        match verdict {
            Verdict::Allow => libc::SECCOMP_RET_ALLOW,
            Verdict::Notify => libc::SECCOMP_RET_USER_NOTIF,
            Verdict::Trace(data) => libc::SECCOMP_RET_TRACE | u32::from(data),
        },
    )
}

/// Numbers from `first` to the next span's that share what happens to them.
struct Span<'a> {
    first: u32,
    verdict: Verdict,
    passes: &'a [Vec<Condition<'a>>],
}

/// Assembles a program. `rules` are in the order of their numbers; `private` is a range of numbers (first, count) above
/// them with a verdict of its own; every other number stops.
#[must_use]
pub fn assemble(
    rules: &[Rule<'_>],
    private: (u32, u32),
    private_verdict: Verdict,
) -> Vec<libc::sock_filter> {
    let mut program = vec![
        op(LOAD, OFFSET_ARCH),
        branch(JUMP_EQ, ARCH_X86_64, 1, 0),
        ret(Verdict::Trace(FOREIGN)),
        op(LOAD, OFFSET_NR),
    ];
    let mut spans = spans(rules);
    for (first, verdict) in [
        (private.0, private_verdict),
        (private.0 + private.1, Verdict::Trace(ROW)),
        (X32_BIT, Verdict::Trace(FOREIGN)),
    ] {
        spans.push(Span {
            first,
            verdict,
            passes: &[],
        });
    }
    search(&spans, &mut program);
    program
}

/// The rules with the gaps between them; neighbours that are alike are one, since the kernel translates and compiles the
/// program at every start of a run.
fn spans<'a>(rules: &'a [Rule<'_>]) -> Vec<Span<'a>> {
    let mut spans: Vec<Span<'a>> = Vec::new();
    let mut add = |span: Span<'a>| {
        let alike = |last: &Span<'_>| {
            last.verdict == span.verdict && last.passes.is_empty() && span.passes.is_empty()
        };
        if !spans.last().is_some_and(alike) {
            spans.push(span);
        }
    };
    let mut next = 0;
    for rule in rules {
        let gap = Span {
            first: next,
            verdict: Verdict::Trace(ROW),
            passes: &[],
        };
        if rule.nr > next {
            add(gap);
        }
        add(Span {
            first: rule.nr,
            verdict: rule.verdict,
            passes: &rule.passes,
        });
        next = rule.nr + 1;
    }
    add(Span {
        first: next,
        verdict: Verdict::Trace(ROW),
        passes: &[],
    });
    spans
}

/// The accumulator holds the number; finds its span by halving.
fn search(spans: &[Span<'_>], program: &mut Vec<libc::sock_filter>) {
    if let [span] = spans {
        return leaf(span, program);
    }
    let (low, high) = spans.split_at(spans.len() / 2);
    let Some(pivot) = high.first() else { return };
    let mut low_code = Vec::new();
    search(low, &mut low_code);
    // A conditional jump reaches 255 instructions; a plain one anywhere.
    if let Ok(distance) = u8::try_from(low_code.len()) {
        program.push(branch(JUMP_GE, pivot.first, distance, 0));
    } else {
        let distance = u32::try_from(low_code.len()).unwrap_or(u32::MAX);
        program.push(branch(JUMP_GE, pivot.first, 0, 1));
        program.push(op(JUMP, distance));
    }
    program.append(&mut low_code);
    search(high, program);
}

fn leaf(span: &Span<'_>, program: &mut Vec<libc::sock_filter>) {
    for alternative in span.passes {
        // Each failing test jumps to the end of its alternative; lengths are known from the values.
        let length: usize = alternative.iter().map(condition_length).sum::<usize>() + 1;
        let mut at = 0;
        for condition in alternative {
            let offset = OFFSET_ARGS + 8 * u32::from(condition.arg);
            let to_end = |at: usize| u8::try_from(length - at - 1).unwrap_or(u8::MAX);
            program.push(op(LOAD, offset + 4));
            at += 1;
            program.push(branch(JUMP_EQ, 0, 0, to_end(at)));
            at += 1;
            program.push(op(LOAD, offset));
            program.push(op(AND, condition.mask));
            at += 2;
            let count = condition.values.len();
            for (index, &value) in condition.values.iter().enumerate() {
                let matched = u8::try_from(count - index - 1).unwrap_or(u8::MAX);
                let missed = if index + 1 == count { to_end(at) } else { 0 };
                program.push(branch(JUMP_EQ, value, matched, missed));
                at += 1;
            }
        }
        program.push(ret(Verdict::Allow));
    }
    program.push(ret(span.verdict));
}

fn condition_length(condition: &Condition<'_>) -> usize {
    4 + condition.values.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A little machine for the instructions used above.
    fn run(program: &[libc::sock_filter], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
        let mut acc = 0u32;
        let mut pc = 0;
        loop {
            let ins = program[pc];
            pc += 1;
            match ins.code {
                LOAD => {
                    acc = match ins.k {
                        OFFSET_NR => nr,
                        OFFSET_ARCH => arch,
                        k => {
                            let arg = args[((k - OFFSET_ARGS) / 8) as usize];
                            if (k - OFFSET_ARGS).is_multiple_of(8) {
                                arg as u32
                            } else {
                                (arg >> 32) as u32
                            }
                        }
                    }
                }
                AND => acc &= ins.k,
                JUMP => pc += ins.k as usize,
                JUMP_EQ => pc += usize::from(if acc == ins.k { ins.jt } else { ins.jf }),
                JUMP_GE => pc += usize::from(if acc >= ins.k { ins.jt } else { ins.jf }),
                RETURN => return ins.k,
                other => panic!("instruction {other}"),
            }
        }
    }

    #[test]
    fn every_number_gets_its_own_verdict() {
        let values = [3u32, 7];
        let one = [1u32];
        let rules: Vec<Rule<'_>> = (0..460u32)
            .filter(|nr| nr % 5 != 0)
            .map(|nr| Rule {
                nr,
                verdict: match nr % 3 {
                    0 => Verdict::Allow,
                    1 => Verdict::Notify,
                    _ => Verdict::Trace(ROW),
                },
                passes: if nr == 16 {
                    vec![
                        vec![Condition {
                            arg: 1,
                            mask: u32::MAX,
                            values: &values,
                        }],
                        vec![
                            Condition {
                                arg: 2,
                                mask: 1,
                                values: &one,
                            },
                            Condition {
                                arg: 3,
                                mask: u32::MAX,
                                values: &one,
                            },
                        ],
                    ]
                } else {
                    Vec::new()
                },
            })
            .collect();
        let program = assemble(&rules, (0x1000_0000, 16), Verdict::Notify);
        for nr in 0..600u32 {
            let expected = match rules.iter().find(|rule| rule.nr == nr) {
                Some(rule) => ret(rule.verdict).k,
                None => ret(Verdict::Trace(ROW)).k,
            };
            assert_eq!(
                run(&program, ARCH_X86_64, nr, [1 << 32; 6]),
                expected,
                "number {nr}"
            );
        }
        let allow = libc::SECCOMP_RET_ALLOW;
        let notify = libc::SECCOMP_RET_USER_NOTIF;
        assert_eq!(run(&program, ARCH_X86_64, 16, [0, 3, 0, 0, 0, 0]), allow);
        assert_eq!(run(&program, ARCH_X86_64, 16, [0, 7, 0, 0, 0, 0]), allow);
        assert_eq!(
            run(&program, ARCH_X86_64, 16, [0, 7 | 1 << 32, 0, 0, 0, 0]),
            notify
        );
        assert_eq!(run(&program, ARCH_X86_64, 16, [0, 4, 3, 1, 0, 0]), allow);
        assert_eq!(
            run(&program, ARCH_X86_64, 16, [0, 4, 3, 1 | 1 << 40, 0, 0]),
            notify
        );
        assert_eq!(run(&program, ARCH_X86_64, 16, [0, 4, 2, 1, 0, 0]), notify);
        let foreign = ret(Verdict::Trace(FOREIGN)).k;
        assert_eq!(run(&program, 0x4000_0003, 3, [0; 6]), foreign);
        assert_eq!(run(&program, ARCH_X86_64, X32_BIT | 1, [0; 6]), foreign);
        assert_eq!(run(&program, ARCH_X86_64, u32::MAX, [0; 6]), foreign);
        assert_eq!(run(&program, ARCH_X86_64, 0x1000_0003, [0; 6]), notify);
        assert_eq!(
            run(&program, ARCH_X86_64, 0x1000_0010, [0; 6]),
            ret(Verdict::Trace(ROW)).k
        );
    }

    #[test]
    fn neighbours_that_are_alike_are_one() {
        let length = |count: u32, verdict: fn(u32) -> Verdict| {
            let rules: Vec<Rule<'_>> = (0..count)
                .map(|nr| Rule {
                    nr,
                    verdict: verdict(nr),
                    passes: Vec::new(),
                })
                .collect();
            assemble(&rules, (0x1000_0000, 16), Verdict::Notify).len()
        };
        assert_eq!(
            length(1, |_| Verdict::Allow),
            length(300, |_| Verdict::Allow)
        );
        let both = |nr| {
            if nr < 100 {
                Verdict::Allow
            } else {
                Verdict::Notify
            }
        };
        assert_eq!(length(101, both), length(300, both));
        assert!(length(100, both) < length(101, both));
    }
}
