job "web" {
  group "web" {
    network {
      mode = "cni/lan"

      port "http" {
        static = 8080
        to     = 80
      }
    }

    service {
      name         = "web"
      port         = "http"
      address_mode = "alloc"
      provider     = "nomad"
    }

    task "server" {
      driver = "docker"

      config {
        image   = "busybox"
        command = "httpd"
        args    = ["-f", "-p", "80"]
      }
    }
  }
}
