// The driver for Paho C++. Its command line and its lines are described in clients/README.md.
//
// The library does not tell what the CONNACKs of its own reconnects say, and drops what is not acknowledged
// when such a CONNACK has no session: so numbers go one by one, and what fails goes again.

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <mqtt/async_client.h>

namespace {

using namespace std::chrono_literals;

// Sessions of MQTT 5 end with their connection unless they are told how long to live.
constexpr uint32_t kSessionSeconds = 3600;
constexpr auto kAckedWithin = 5s;

struct Options {
  std::string command;
  std::map<std::string, std::string> values = {{"--host", "127.0.0.1"}, {"--keepalive", "60"},
                                               {"--pace", "0"},         {"--qos", "1"}};
  std::vector<std::string> filters;
  bool clean = false;

  Options(int argc, char** argv) : command(argc > 1 ? argv[1] : "") {
    for (int i = 2; i < argc; ++i) {
      const std::string name = argv[i];
      if (name == "--clean") {
        clean = true;
      } else if (i + 1 == argc) {
        throw std::invalid_argument("no value for " + name);
      } else if (name == "--filter") {
        filters.emplace_back(argv[++i]);
      } else {
        values[name] = argv[++i];
      }
    }
  }

  bool has(const std::string& name) const { return values.contains(name); }
  std::string text(const std::string& name) const { return values.at(name); }
  int number(const std::string& name) const { return std::stoi(values.at(name)); }
};

// The library calls back from threads of its own.
void say(const std::string& line) {
  static std::mutex one_at_a_time;
  const std::lock_guard<std::mutex> turn(one_at_a_time);
  std::cout << line << std::endl;
}

std::string hex(const std::string& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

mqtt::connect_options connect_options(const Options& options) {
  mqtt::connect_options connect;
  connect.set_mqtt_version(options.number("--level"));
  connect.set_keep_alive_interval(options.number("--keepalive"));
  connect.set_automatic_reconnect(1, 1);
  if (options.number("--level") == MQTTVERSION_5) {
    connect.set_clean_start(options.clean);
    if (!options.clean) {
      connect.set_properties({{mqtt::property::SESSION_EXPIRY_INTERVAL, kSessionSeconds}});
    }
  } else {
    connect.set_clean_session(options.clean);
  }
  if (options.has("--user")) {
    std::ifstream file(options.text("--password-file"));
    std::string password;
    std::getline(file, password);
    connect.set_user_name(options.text("--user"));
    connect.set_password(password);
  }
  if (options.has("--cafile")) {
    mqtt::ssl_options tls;
    tls.set_trust_store(options.text("--cafile"));
    tls.set_verify(true);
    connect.set_ssl(tls);
  }
  return connect;
}

// The first connection; the later ones are the library's.
void connect(mqtt::async_client& client, const Options& options) {
  client.set_connection_lost_handler([](const std::string&) { say("disconnected"); });
  const auto token = client.connect(connect_options(options));
  try {
    const bool present = token->get_connect_response().is_session_present();
    say(std::string("connected session_present=") + (present ? "1" : "0"));
  } catch (const mqtt::exception& error) {
    const int reason = error.get_reason_code();
    say("refused " + std::to_string(reason != 0 ? reason : error.get_return_code()));
    std::_Exit(1);
  }
  client.set_connected_handler([](const std::string&) { say("connected session_present=?"); });
}

void publish(mqtt::async_client& client, const Options& options) {
  connect(client, options);
  for (int number = options.number("--from"); number <= options.number("--to");) {
    try {
      const auto token = client.publish(options.text("--topic"), std::to_string(number), 1, false);
      if (token->wait_for(kAckedWithin)) {
        const int reason = token->get_reason_code();
        say("acked " + std::to_string(number) + (reason ? " reason=" + std::to_string(reason) : ""));
        ++number;
      }
    } catch (const mqtt::exception& error) {
      if (const int reason = error.get_reason_code(); reason > 0) {
        say("acked " + std::to_string(number) + " reason=" + std::to_string(reason));
        ++number;
      } else {
        std::this_thread::sleep_for(100ms);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(options.number("--pace")));
  }
  // A PUBACK that says no makes this version end the connection by itself.
  if (client.is_connected()) client.disconnect()->wait();
}

void subscribe(mqtt::async_client& client, const Options& options) {
  const auto filters = mqtt::string_collection::create(options.filters);
  const mqtt::iasync_client::qos_collection qos(options.filters.size(), options.number("--qos"));
  client.set_message_callback([](const mqtt::const_message_ptr& message) {
    say("message " + message->get_topic() + " retained=" + (message->is_retained() ? "1 " : "0 ") +
        hex(message->to_string()));
  });
  // Waiting is not for the library's own threads, which call back; so this one subscribes at each connection.
  std::mutex mutex;
  std::condition_variable changed;
  int unsubscribed = 1;
  connect(client, options);
  client.set_connected_handler([&](const std::string&) {
    say("connected session_present=?");
    const std::lock_guard<std::mutex> lock(mutex);
    ++unsubscribed;
    changed.notify_one();
  });
  for (std::unique_lock<std::mutex> lock(mutex);;) {
    changed.wait(lock, [&] { return unsubscribed > 0; });
    --unsubscribed;
    lock.unlock();
    try {
      const auto response = client.subscribe(filters, qos)->get_subscribe_response();
      std::string line = "subscribed";
      for (const auto code : response.get_reason_codes()) {
        line += ' ';
        line += std::to_string(static_cast<int>(code));
      }
      say(line);
    } catch (const mqtt::exception& error) {
      // A connection that was lost meanwhile comes again; a lone filter's refusal is an exception, too.
      if (error.get_reason_code() > 0) say("subscribed " + std::to_string(error.get_reason_code()));
    }
    lock.lock();
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Options options(argc, argv);
    const std::string scheme = options.has("--cafile") ? "ssl://" : "tcp://";
    mqtt::async_client client(scheme + options.text("--host") + ":" + options.text("--port"), options.text("--id"),
                              mqtt::create_options(options.number("--level")));
    if (options.command == "publish") {
      publish(client, options);
    } else if (options.command == "subscribe") {
      subscribe(client, options);
    } else {
      throw std::invalid_argument("expected publish or subscribe");
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 64;
  }
}
