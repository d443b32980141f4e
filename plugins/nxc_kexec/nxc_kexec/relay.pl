# The relay: takes big files from one machine while it hands them on to others. Runs on the machines.
#
# The same as relay.py, which says what it is told and what it tells, for machines with perl-base alone: sums are
# taken by sha256sum, to which each file is fed as it comes.
use strict;
use warnings;
use Socket qw(:DEFAULT inet_pton inet_ntop IPPROTO_TCP);
use Fcntl qw(:DEFAULT :flock);
use Errno qw(EAGAIN EINPROGRESS EINTR ENOSPC EDQUOT);

my ($CHUNK, $BITE, $CONNECT, $UNKNOWN, $CALLERS) = (1 << 18, 1 << 16, 5, 10, 64);
my (@parts, %callers, @peer, $listener, $source, $taking);
my ($told, $ask, $folder, $token, $give_up_at, $fed, $finished, $beat, $drops) = ('', '', '', '', 0, 0, 0, 0, 0);

sub tell_line {
  my $line = '@' . join(' ', @_) . "\n";
  while (length $line) {
    my $count = syswrite(STDOUT, $line);
    kill_self(3) unless defined $count; # nobody listens any more
    substr($line, 0, $count) = '';
  }
}

sub kill_self { # without waiting for sha256sum, which ends with its input
  kill 9, map { $_->{sum} ? $_->{sum}{pid} : () } @parts;
  exit shift;
}

sub give_up {
  print STDERR "@_\n";
  kill_self(1);
}

sub plain { my $word = shift; $word =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge; return $word }

sub quiet { # a handle that never waits
  my $handle = shift;
  fcntl($handle, F_SETFL, fcntl($handle, F_GETFL, 0) | O_NONBLOCK);
}

# Files: as much of each as is here; `hashed` follows `have`.

sub new_part {
  my ($name, $size, $sha) = @_;
  my $whole = "$folder/" . plain($name);
  my $part = { name => $name, size => $size, sha => $sha, whole => $whole, path => "$whole.part" };
  rename $whole, $part->{path} if -e $whole || -l $whole;
  sysopen($part->{file}, $part->{path}, O_RDWR | O_CREAT | O_NOFOLLOW, 0600)
    or give_up("$part->{path}: $!");
  chmod 0600, $part->{file};
  $part->{have} = -s $part->{file};
  truncate_part($part) if $part->{have} > $size;
  begin_sum($part);
  push @parts, $part;
}

sub truncate_part { my $part = shift; truncate($part->{file}, 0); $part->{have} = 0; }

sub begin_sum {
  my $part = shift;
  if (my $old = delete $part->{sum}) { kill 9, $old->{pid}; waitpid $old->{pid}, 0; }
  pipe(my $in, my $feed) && pipe(my $answer, my $out) or give_up("pipe: $!");
  my $pid = fork;
  give_up("fork: $!") unless defined $pid;
  if (!$pid) {
    open(STDIN, '<&', $in);
    open(STDOUT, '>&', $out);
    { no warnings; exec { 'sha256sum' } 'sha256sum'; }
    kill 9, $$;
  }
  quiet($feed);
  { no warnings; fcntl($feed, 1031, 1 << 20); } # F_SETPIPE_SZ: fewer turns
  $part->{sum} = { pid => $pid, feed => $feed, answer => $answer, rest => '', at => 0 };
  ($part->{hashed}, $part->{good}) = (0, 0);
}

sub write_part {
  my ($part, $data) = @_;
  my $left = $part->{size} - $part->{have};
  $left = length $data if $left > length $data;
  my $at = 0;
  while ($at < $left) {
    sysseek($part->{file}, $part->{have}, 0);
    my $count = syswrite($part->{file}, $data, $left - $at, $at);
    if (!defined $count) {
      next if $! == EINTR;
      give_up("$part->{path}: $!") unless $! == ENOSPC || $! == EDQUOT;
      unlink $part->{path};
      give_up("no space left in $folder for " . plain($part->{name}) . " ($part->{size} bytes)");
    }
    $at += $count;
    $part->{have} += $count;
  }
}

sub behind { # whether enough has come since the sum was taken
  my $part = shift;
  my $more = $part->{have} - $part->{hashed};
  return !$part->{good} && $more > 0 && ($part->{have} >= $part->{size} || $more >= $CHUNK);
}

sub feed_sum {
  my $part = shift;
  my $sum = $part->{sum};
  if ($sum->{at} >= length $sum->{rest}) {
    sysseek($part->{file}, $part->{hashed}, 0);
    my $many = $part->{have} - $part->{hashed};
    sysread($part->{file}, $sum->{rest}, $many < $CHUNK ? $many : $CHUNK);
    $sum->{at} = 0;
  }
  my $count = syswrite($sum->{feed}, $sum->{rest}, length($sum->{rest}) - $sum->{at}, $sum->{at});
  if (defined $count) { $sum->{at} += $count; $part->{hashed} += $count; }
  elsif ($! != EAGAIN && $! != EINTR) { give_up("sha256sum is missing or failed: $!"); }
}

sub check { # true when the whole file is known to be good or bad
  my $part = shift;
  return 0 if $part->{good} || $part->{hashed} < $part->{size};
  my $sum = delete $part->{sum};
  close $sum->{feed};
  my $answer = readline($sum->{answer});
  waitpid $sum->{pid}, 0;
  $part->{good} = defined $answer && (split ' ', $answer)[0] eq $part->{sha};
  rename $part->{path}, $part->{whole} if $part->{good};
  return 1;
}

sub begin { # a file again, and send nobody what was in it
  my $part = shift;
  truncate_part($part);
  begin_sum($part);
  close_source();
  for my $caller (values %callers) {
    close_caller($caller) if $caller->{part} && $caller->{part} == $part;
  }
}

# What it is told

sub hear {
  my $count = sysread(STDIN, my $data, $CHUNK);
  kill_self(0) unless $count;
  $told .= $data;
  while ($told =~ s/^([^\n]*)\n//) { obey(split ' ', $1); }
}

sub obey {
  my ($verb, @rest) = @_;
  if ($verb eq 'folder') { $folder = plain($rest[0]); lock_folder(); }
  elsif ($verb eq 'token') { $token = $rest[0]; }
  elsif ($verb eq 'life') { alarm $rest[0]; }
  elsif ($verb eq 'listen') { start_listening($rest[0]); }
  elsif ($verb eq 'file') { new_part(@rest); }
  elsif ($verb eq 'go') {
    tell_line('at', sizes());
    tell_line('port', (unpack_address(getsockname $listener))[1]);
  }
  elsif ($verb eq 'pull') { connect_to(@rest); }
  elsif ($verb eq 'feed') { close_source(); $fed = 1; tell_line('fed', sizes()); }
  elsif ($verb eq 'drop') {
    $drops++;
    for my $part (@parts) { begin($part) if $part->{name} eq $rest[0] && !$part->{good}; }
  }
}

sub lock_folder { # two relays would write the same file; one that nobody tells anything any more ends soon
  sysopen(our $lock, $folder, O_RDONLY) or give_up("$folder: $!");
  for (1 .. 900) {
    return if flock($lock, LOCK_EX | LOCK_NB);
    select(undef, undef, undef, 0.1);
  }
  give_up("another broadcast is at work in $folder");
}

sub sizes { return map { $_->{have} } @parts; }

sub pack_address {
  my ($address, $port) = @_;
  return $address =~ /:/
    ? (AF_INET6, pack_sockaddr_in6($port, inet_pton(AF_INET6, $address)))
    : (AF_INET, pack_sockaddr_in($port, inet_pton(AF_INET, $address)));
}

sub unpack_address {
  my $packed = shift;
  my $family = sockaddr_family($packed);
  my ($port, $host) = $family == AF_INET6 ? unpack_sockaddr_in6($packed) : unpack_sockaddr_in($packed);
  return (inet_ntop($family, $host), $port);
}

sub start_listening {
  my $address = shift;
  my ($family, $packed) = pack_address($address, 0);
  socket($listener, $family, SOCK_STREAM, 0) or give_up("socket: $!");
  bind($listener, $packed)
    or bind($listener, (pack_address($family == AF_INET6 ? '::' : '0.0.0.0', 0))[1])
    or give_up("cannot listen on $address: $!");
  listen($listener, $CALLERS) or give_up("cannot listen on $address: $!");
  quiet($listener);
}

# What it takes

sub connect_to {
  my ($address, $port) = @_;
  close_source();
  ($fed, @peer) = (0, $address, $port);
  return unless missing();
  my ($family, $packed) = pack_address($address, $port);
  socket($source, $family, SOCK_STREAM, 0) or return lose("$!");
  quiet($source);
  $give_up_at = time + $CONNECT;
  return lose("$!") unless connect($source, $packed) || $! == EINPROGRESS;
  request();
  set_bite();
}

sub missing { return (grep { $_->{have} < $_->{size} } @parts)[0]; }

sub request {
  $taking = missing();
  if ($taking) { $ask = "$token $taking->{name} $taking->{have}\n"; }
  else { close_source(); }
}

sub send_request {
  my $code = unpack('i', getsockopt($source, SOL_SOCKET, SO_ERROR));
  if ($code) { local $! = $code; return lose("$!"); }
  $give_up_at = 0;
  my $count = syswrite($source, $ask);
  if (defined $count) { substr($ask, 0, $count) = ''; }
  elsif ($! != EAGAIN) { lose("$!"); }
}

sub take {
  my $count = sysread($source, my $data, $CHUNK);
  if (!defined $count) { lose("$!") unless $! == EAGAIN || $! == EINTR; return; }
  return lose('it closed the connection') unless $count;
  write_part($taking, $data);
  request() if $taking->{have} >= $taking->{size};
  set_bite();
}

sub set_bite { # packets come one by one: sleep until there is enough to take, or all that is missing
  return unless $taking;
  my $left = $taking->{size} - $taking->{have};
  setsockopt($source, SOL_SOCKET, SO_RCVLOWAT, $left < $BITE ? $left : $BITE);
}

sub follow { # see how far another command has written
  for my $part (grep { $_->{have} < $_->{size} } @parts) {
    my $size = -s $part->{file};
    $part->{have} = $size < $part->{size} ? $size : $part->{size};
  }
}

sub lose { my $why = shift; close_source(); tell_line('lost', @peer, $why); }

sub close_source {
  close $source if $source;
  ($source, $taking, $ask, $give_up_at) = (undef, undef, '', 0);
}

# What it gives

sub accept_caller {
  my $packed = accept(my $socket, $listener) or return;
  return close $socket if keys %callers >= $CALLERS;
  quiet($socket);
  my ($address) = unpack_address($packed);
  $callers{fileno $socket} =
    { socket => $socket, address => $address, since => time, line => '', at => 0, rest => '', sent => 0 };
}

sub close_caller { my $caller = shift; delete $callers{fileno $caller->{socket}}; close $caller->{socket}; }

sub turn_away {
  my $caller = shift;
  tell_line('foreign', $caller->{address}) if length $caller->{line} && !$caller->{known};
  close_caller($caller);
}

sub read_request {
  my $caller = shift;
  my $count = sysread($caller->{socket}, $caller->{line}, 1024, length $caller->{line});
  return if !defined $count && ($! == EAGAIN || $! == EINTR);
  return turn_away($caller) if !$count || length $caller->{line} > 1024;
  return unless $caller->{line} =~ s/^([^\n]*)\n//;
  my @words = split ' ', $1;
  $caller->{known} = @words == 3 && $words[0] eq $token && $words[2] =~ /^[0-9]+\z/;
  my ($part) = $caller->{known} ? grep { $_->{name} eq $words[1] } @parts : ();
  if (!$part) { $caller->{line} = '?'; return turn_away($caller); }
  @$caller{qw(part at rest sent)} = ($part, $words[2], '', 0);
}

sub has_work {
  my $caller = shift;
  return $caller->{sent} < length $caller->{rest} || $caller->{part} && $caller->{at} < $caller->{part}{have};
}

sub give {
  my $caller = shift;
  if ($caller->{sent} >= length $caller->{rest}) {
    my $part = $caller->{part};
    sysseek($part->{file}, $caller->{at}, 0);
    my $many = $part->{have} - $caller->{at};
    sysread($part->{file}, $caller->{rest}, $many < $CHUNK ? $many : $CHUNK);
    ($caller->{at}, $caller->{sent}) = ($caller->{at} + length $caller->{rest}, 0);
  }
  my $count =
    syswrite($caller->{socket}, $caller->{rest}, length($caller->{rest}) - $caller->{sent}, $caller->{sent});
  if (defined $count) { $caller->{sent} += $count; }
  elsif ($! != EAGAIN && $! != EINTR) { close_caller($caller); }
}

# The loop

sub turn {
  my ($reading, $writing) = ('', '');
  vec($reading, 0, 1) = 1;
  vec($reading, fileno $listener, 1) = 1 if $listener;
  for my $number (keys %callers) {
    vec($reading, $number, 1) = 1;
    vec($writing, $number, 1) = 1 if has_work($callers{$number});
  }
  for my $part (grep { behind($_) } @parts) { vec($writing, fileno $part->{sum}{feed}, 1) = 1; }
  if ($source) {
    if (length $ask) { vec($writing, fileno $source, 1) = 1; }
    else { vec($reading, fileno $source, 1) = 1; }
  }
  my $many = select($reading, $writing, undef, $fed ? 0.02 : 0.25);
  attend($reading, $writing) if $many > 0;
  follow() if $fed;
  report();
  look_at_clock();
}

sub attend {
  my ($reading, $writing) = @_;
  for my $part (grep { behind($_) } @parts) {
    feed_sum($part) if vec($writing, fileno $part->{sum}{feed}, 1);
  }
  for my $caller (values %callers) {
    my $number = fileno $caller->{socket};
    give($caller) if vec($writing, $number, 1) && has_work($caller);
    read_request($caller) if vec($reading, $number, 1) && $callers{$number};
  }
  if ($source) {
    my $number = fileno $source;
    if (length $ask) { send_request() if vec($writing, $number, 1); }
    elsif (vec($reading, $number, 1)) { take(); }
  }
  accept_caller() if $listener && vec($reading, fileno $listener, 1);
  hear() if vec($reading, 0, 1);
}

sub report {
  for my $part (@parts) {
    next unless check($part);
    if ($part->{good}) { tell_line('good', $part->{name}); next; }
    tell_line('bad', $part->{name}, $drops);
    begin($part);
  }
  if (@parts && !$finished && !grep { !$_->{good} } @parts) { $finished = 1; tell_line('done'); }
}

sub look_at_clock {
  my $now = time;
  lose("no answer after $CONNECT s") if $source && $give_up_at && $now > $give_up_at;
  for my $caller (values %callers) {
    turn_away($caller) if !$caller->{known} && $now > $caller->{since} + $UNKNOWN;
  }
  if ($now != $beat) { $beat = $now; tell_line('at', sizes()); } # the clock may be set back
}

$SIG{PIPE} = 'IGNORE';
umask 077;
turn() while 1;
