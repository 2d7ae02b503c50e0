require "net/ssh"

task, config, *names = ARGV

if task == "parse"
  names.each { |name| puts Net::SSH::Config.for(name, [config])[:proxy]&.command_line_template }
else
  status = {}
  Net::SSH.start(names[0], nil, config: [config]) do |session|
    session.open_channel do |channel|
      channel.exec("echo out; exit 7") do
        channel.on_data { |_, data| print data }
        channel.on_request("exit-status") { |_, data| status[:exit] = data.read_long }
      end
    end.wait
  end
  exit status[:exit]
end
