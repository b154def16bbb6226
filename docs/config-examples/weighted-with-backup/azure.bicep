// Front Door: origins have weights and priorities, so this is the same thing, at the edge and not in the network.
// Nothing here checks this file.

param profileName string

resource profile 'Microsoft.Cdn/profiles@2024-02-01' existing = {
  name: profileName
}

resource users 'Microsoft.Cdn/profiles/originGroups@2024-02-01' = {
  parent: profile
  name: 'users'
  properties: {
    healthProbeSettings: {
      probePath: '/health'
      probeProtocol: 'Http'
      probeRequestType: 'GET'
      probeIntervalInSeconds: 5
    }
    loadBalancingSettings: {
      sampleSize: 4
      successfulSamplesRequired: 3
      // Weights count only among origins that are as fast as the fastest, give or take this. Zero would take the fastest.
      additionalLatencyInMilliseconds: 1000
    }
  }
}

resource a 'Microsoft.Cdn/profiles/originGroups/origins@2024-02-01' = {
  parent: users
  name: 'a'
  properties: {
    hostName: '10-0-0-1.example.net'
    httpPort: 8080
    priority: 1
    weight: 5
  }
}

resource b 'Microsoft.Cdn/profiles/originGroups/origins@2024-02-01' = {
  parent: users
  name: 'b'
  properties: {
    hostName: '10-0-0-2.example.net'
    httpPort: 8080
    priority: 1
    weight: 3
  }
}

resource c 'Microsoft.Cdn/profiles/originGroups/origins@2024-02-01' = {
  parent: users
  name: 'c'
  properties: {
    hostName: '10-0-0-3.example.net'
    httpPort: 8080
    priority: 1
    weight: 2
  }
}

resource backup 'Microsoft.Cdn/profiles/originGroups/origins@2024-02-01' = {
  parent: users
  name: 'backup'
  properties: {
    hostName: '10-0-9-1.example.net'
    httpPort: 8080
    priority: 2
    weight: 1
  }
}
