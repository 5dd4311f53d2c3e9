//! Python's pickle as data: the stack machine runs, but nothing it names is called.
//!
//! Every opcode adds at most one value to a flat list, and values refer to each other by number,
//! so memory is bounded by the pickle's length and nothing recurses.

use std::collections::HashMap;

/// A value; others are named by their number in the list.
#[derive(Debug)]
pub(super) enum Value {
    /// `None`, a set, a float, bytes: nothing a checkpoint's tensors are described by.
    Other,
    Int(i64),
    Text(String),
    Tuple(Vec<usize>),
    List(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    Class {
        module: String,
        name: String,
    },
    /// What calling `callable` would give.
    Call {
        callable: usize,
        arguments: usize,
    },
    /// What the archive holds under an identifier.
    Persistent(usize),
}

/// All values of a pickle and the last one.
pub(super) struct Pickle {
    values: Vec<Value>,
    root: usize,
}

impl Pickle {
    /// Runs the machine to its end.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine {
            rest: bytes,
            values: vec![],
            stack: vec![],
            marks: vec![],
            memo: HashMap::new(),
        };
        let root = loop {
            let at = bytes.len() - machine.rest.len();
            match machine.step() {
                Some(Step::Next) => {}
                Some(Step::End(root)) => break root,
                Some(Step::Unknown(code)) => {
                    return Err(format!("byte {at}: opcode {code:#04x} is not supported"));
                }
                None => return Err(format!("byte {at}: the pickle is broken or cut off")),
            }
        };
        Ok(Self { values: machine.values, root })
    }

    /// The number of the last value.
    pub(super) fn root(&self) -> usize {
        self.root
    }

    /// The value of a number.
    pub(super) fn get(&self, value: usize) -> &Value {
        self.values.get(value).unwrap_or(&Value::Other)
    }

    /// Every class or function that it names, by module and name.
    pub(super) fn classes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().filter_map(|value| match value {
            Value::Class { module, name } => Some((module.as_str(), name.as_str())),
            _ => None,
        })
    }

    /// A dictionary's entry.
    pub(super) fn entry(&self, dictionary: usize, key: &str) -> Option<usize> {
        let Value::Dict(entries) = self.get(dictionary) else { return None };
        let is_key = |k: usize| matches!(self.get(k), Value::Text(text) if text == key);
        entries.iter().find(|(k, _)| is_key(*k)).map(|(_, value)| *value)
    }

    /// A number that counts something.
    pub(super) fn size(&self, value: usize) -> Result<usize, String> {
        match self.get(value) {
            Value::Int(n) => usize::try_from(*n).map_err(|e| format!("the size {n}: {e}")),
            _ => Err("a size that is not a whole number".to_owned()),
        }
    }

    /// A tuple of such numbers.
    pub(super) fn sizes(&self, value: usize) -> Result<Vec<usize>, String> {
        match self.get(value) {
            Value::Tuple(items) | Value::List(items) => {
                items.iter().take(16).map(|item| self.size(*item)).collect()
            }
            _ => Err("sizes that are not a tuple".to_owned()),
        }
    }
}

enum Step {
    Next,
    End(usize),
    Unknown(u8),
}

struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: HashMap<u32, usize>,
}

impl Machine<'_> {
    /// One opcode; `None` when the pickle breaks its own rules.
    fn step(&mut self) -> Option<Step> {
        let code = self.byte()?;
        match code {
            b'.' => return Some(Step::End(self.pop()?)),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.items()?;
            }
            b'2' => {
                let top = *self.stack.last()?;
                self.stack.push(top);
            }
            0x80 => {
                self.byte()?;
            }
            0x95 => {
                self.take(8)?;
            }
            b'N' | 0x8f => self.push(Value::Other),
            b'G' => {
                self.take(8)?;
                self.push(Value::Other);
            }
            b'J' | b'K' | b'M' | 0x88 | 0x89 | 0x8a => self.integer(code)?,
            b'X' | b'U' | b'T' | b'C' | b'B' | 0x8c | 0x8d | 0x8e => self.text(code)?,
            b')' | b't' | 0x85..=0x87 => self.tuple(code)?,
            b']' | b'l' | b'a' | b'e' | 0x90 | 0x91 => self.list(code)?,
            b'}' | b'd' | b's' | b'u' => self.dict(code)?,
            b'c' | 0x93 => self.class(code)?,
            b'R' | 0x81 => self.call()?,
            b'b' => {
                // State (a dictionary's metadata): the object is what counts.
                self.pop()?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(code)?,
            other => return Some(Step::Unknown(other)),
        }
        Some(Step::Next)
    }

    fn integer(&mut self, code: u8) -> Option<()> {
        let number = match code {
            b'J' => i64::from(i32::from_le_bytes(self.array()?)),
            b'K' => i64::from(self.byte()?),
            b'M' => i64::from(u16::from_le_bytes(self.array()?)),
            0x88 => 1,
            0x89 => 0,
            _ => {
                let length = usize::from(self.byte()?);
                let digits = self.take(length)?;
                if digits.len() > 8 {
                    return None;
                }
                let negative = digits.last().is_some_and(|b| *b >= 0x80);
                let mut bytes = [if negative { 0xff } else { 0 }; 8];
                for (to, from) in bytes.iter_mut().zip(digits) {
                    *to = *from;
                }
                i64::from_le_bytes(bytes)
            }
        };
        self.push(Value::Int(number));
        Some(())
    }

    fn text(&mut self, code: u8) -> Option<()> {
        let length = match code {
            b'U' | b'C' | 0x8c => u64::from(self.byte()?),
            0x8d | 0x8e => u64::from_le_bytes(self.array()?),
            _ => u64::from(u32::from_le_bytes(self.array()?)),
        };
        let bytes = self.take(usize::try_from(length).ok()?)?;
        let value = match code {
            b'C' | b'B' | 0x8e => Value::Other,
            _ => Value::Text(std::str::from_utf8(bytes).ok()?.to_owned()),
        };
        self.push(value);
        Some(())
    }

    fn tuple(&mut self, code: u8) -> Option<()> {
        let items = match code {
            b')' => vec![],
            b't' => self.items()?,
            _ => {
                let count = usize::from(code - 0x84);
                self.stack.split_off(self.stack.len().checked_sub(count)?)
            }
        };
        self.push(Value::Tuple(items));
        Some(())
    }

    fn list(&mut self, code: u8) -> Option<()> {
        match code {
            b']' => self.push(Value::List(vec![])),
            b'l' | 0x91 => {
                let items = self.items()?;
                self.push(Value::List(items));
            }
            _ => {
                let items = if code == b'a' { vec![self.pop()?] } else { self.items()? };
                // A set (0x90) is a value of no interest.
                if let Value::List(list) = self.top()? {
                    list.extend(items);
                }
            }
        }
        Some(())
    }

    fn dict(&mut self, code: u8) -> Option<()> {
        let items = match code {
            b'}' => vec![],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.items()?,
        };
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return None;
        }
        let pairs = pairs.iter().map(|[key, value]| (*key, *value));
        if matches!(code, b'}' | b'd') {
            let dict = Value::Dict(pairs.collect());
            self.push(dict);
        } else if let Value::Dict(dict) = self.top()? {
            dict.extend(pairs);
        } else {
            return None;
        }
        Some(())
    }

    fn class(&mut self, code: u8) -> Option<()> {
        let (module, name) = if code == b'c' {
            (self.line()?, self.line()?)
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            match (self.values.get(module)?, self.values.get(name)?) {
                (Value::Text(module), Value::Text(name)) => (module.clone(), name.clone()),
                _ => return None,
            }
        };
        self.push(Value::Class { module, name });
        Some(())
    }

    fn call(&mut self) -> Option<()> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let value = match self.values.get(callable)? {
            Value::Class { module, name } if module == "collections" && name == "OrderedDict" => {
                Value::Dict(vec![])
            }
            _ => Value::Call { callable, arguments },
        };
        self.push(value);
        Some(())
    }

    fn memory(&mut self, code: u8) -> Option<()> {
        let key = match code {
            b'q' | b'h' => u32::from(self.byte()?),
            b'r' | b'j' => u32::from_le_bytes(self.array()?),
            _ => u32::try_from(self.memo.len()).ok()?,
        };
        if matches!(code, b'h' | b'j') {
            let value = *self.memo.get(&key)?;
            self.stack.push(value);
        } else {
            self.memo.insert(key, *self.stack.last()?);
        }
        Some(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// Takes the top value; none from below the last mark.
    fn pop(&mut self) -> Option<usize> {
        let floor = self.marks.last().copied().unwrap_or_default();
        if self.stack.len() > floor { self.stack.pop() } else { None }
    }

    fn top(&mut self) -> Option<&mut Value> {
        let top = *self.stack.last()?;
        self.values.get_mut(top)
    }

    /// What stands above the last mark.
    fn items(&mut self) -> Option<Vec<usize>> {
        let mark = self.marks.pop()?;
        (mark <= self.stack.len()).then(|| self.stack.split_off(mark))
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn line(&mut self) -> Option<String> {
        let end = self.rest.iter().take(512).position(|b| *b == b'\n')?;
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.get(1..)?;
        Some(std::str::from_utf8(line).ok()?.to_owned())
    }
}
