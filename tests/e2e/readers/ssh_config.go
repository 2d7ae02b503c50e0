package main

import (
	"fmt"
	"log"
	"os"

	"github.com/kevinburke/ssh_config"
)

func main() {
	file, err := os.Open(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	config, err := ssh_config.Decode(file)
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range os.Args[3:] {
		command, err := config.Get(name, "ProxyCommand")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(command)
	}
}
